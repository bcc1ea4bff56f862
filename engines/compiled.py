"""`pixels`: the compiled loops of engines/native, or an error that says how to get them."""

try:
    from engines import _native as pixels
except ImportError as error:
    raise ImportError(
        f"the C++ pixel loops are not there ({error}): this copy of DeepLab Edge was not installed "
        f"for this Python, or an update was not compiled yet; run `make install`, or `pip install "
        f"-e .`, in its folder. That needs a C++ compiler (sudo apt install g++)."
    ) from error

__all__ = ["pixels"]
