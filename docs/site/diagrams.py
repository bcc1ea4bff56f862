"""Draws the diagrams of the guides as SVG, legible in light and dark.

`python docs/site/diagrams.py` writes them into docs/images; a test holds that they are these.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "images"

STYLE = """
  svg { color-scheme: light dark; }
  .card { fill: #ffffff; stroke: #d8dee4; }
  .band { fill: #f4f6f9; }
  text { font: 13px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2933; }
  .head { font-size: 16px; font-weight: 650; }
  .room { font-size: 11px; font-weight: 650; letter-spacing: .04em; }
  .name { font-weight: 600; }
  .note { fill: #55606e; font-size: 12px; }
  .box { fill: #ffffff; stroke-width: 1.5; }
  .way { fill: none; stroke: #7b8794; stroke-width: 1.6; marker-end: url(#tip); }
  #tip path { fill: #7b8794; }
  .scenes { stroke: #2f8f4e; } .room.scenes { fill: #23713c; stroke: none; }
  .train { stroke: #b4552d; } .room.train { fill: #9a431e; stroke: none; }
  .export { stroke: #7a52c7; } .room.export { fill: #6539b8; stroke: none; }
  .calibration { stroke: #b8861b; } .room.calibration { fill: #855d07; stroke: none; }
  .engines { stroke: #1f6fb5; } .room.engines { fill: #185a94; stroke: none; }
  .crf { stroke: #c23b6b; } .room.crf { fill: #a62a57; stroke: none; }
  .runtime { stroke: #128a8a; } .room.runtime { fill: #0b6b6b; stroke: none; }
  @media (prefers-color-scheme: dark) {
    .card { fill: #14181d; stroke: #313a44; } .band { fill: #1b2027; } .box { fill: #232a32; }
    text { fill: #e6eaef; } .note { fill: #a8b3bf; }
    .way { stroke: #8b97a3; } #tip path { fill: #8b97a3; }
    .room.scenes { fill: #6fd28e; } .room.train { fill: #f0a07c; } .room.export { fill: #bda3f5; }
    .room.calibration { fill: #eac06a; } .room.engines { fill: #7fbdf3; }
    .room.crf { fill: #f291b5; } .room.runtime { fill: #5fd0d0; }
  }
"""


@dataclass(frozen=True)
class Box:
    """One station: whose room it is, what it is called, what it does."""

    x: int
    y: int
    room: str
    name: str
    notes: tuple[str, ...] = ()
    width: int = 168

    def draw(self) -> str:
        """The rectangle and its lines of text."""
        height = 48 + 16 * len(self.notes)
        lines = [
            f'<rect class="box {self.room}" x="{self.x}" y="{self.y}" width="{self.width}" '
            f'height="{height}" rx="7"/>',
            text(self.x + 11, self.y + 18, self.room, f"room {self.room}"),
            text(self.x + 11, self.y + 36, self.name, "name"),
        ]
        lines += [text(self.x + 11, self.y + 53 + 16 * k, n) for k, n in enumerate(self.notes)]
        return "\n".join(lines)


def text(x: int, y: int, words: str, kind: str = "note", anchor: str = "start") -> str:
    """One line of text."""
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def way(*points: tuple[int, int]) -> str:
    """An arrow along straight lines."""
    return f'<path class="way" d="M{" L".join(f"{x} {y}" for x, y in points)}"/>'


def band(y: int, height: int, width: int) -> str:
    """The ground under one journey."""
    return f'<rect class="band" x="16" y="{y}" width="{width - 32}" height="{height}" rx="10"/>'


def page(width: int, height: int, title: str, parts: list[str]) -> str:
    """The whole picture, on a card of its own so that it is legible on any page."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0 L10 5 L0 10 z"/></marker></defs>',
            f'<rect class="card" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12"/>',
            *parts,
            "</svg>\n",
        ]
    )


def architecture() -> str:
    """A weight's journey above, a frame's journey below, and the bundle that links them."""
    width, columns = 1232, (32, 232, 432, 632, 832, 1032)
    one, two, three, four, five, six = columns
    weight = [
        Box(one, 72, "scenes", "labelled frames", ("CamVid, VOC, yours,", "the drawn street")),
        Box(two, 72, "train", "fit.py", ("DeepLab v1 to v3+,", "or a foreign checkpoint")),
        Box(
            three,
            72,
            "train",
            "NAME.safetensors",
            ("and NAME.json, the", "spec: all that is needed"),
        ),
        Box(four, 72, "export", "graph.py", ("FP32 ONNX: uint8 in,", "stride-4 logits out")),
        Box(five, 44, "export", "half.py", ("typed FP16",)),
        Box(
            five,
            124,
            "calibration",
            "observe.py, qdq.py",
            ("ranges from real frames;", "Q/DQ: u8 CPU, s8 GPU"),
        ),
        Box(six, 72, "engines", "bundle", ("graphs, ranges, golden", "frames; sha256 of each")),
        Box(four, 236, "export", "verify.py", ("every layer of every", "graph against PyTorch")),
        Box(
            five,
            236,
            "calibration",
            "report.py",
            ("mIoU, worst class, ms:", "the verdict, the gate"),
        ),
    ]
    frame = [
        Box(one, 474, "runtime", "sources/", ("a camera, read in a", "process of its own")),
        Box(two, 474, "runtime", "slot", ("the newest frame;", "drops are counted")),
        Box(three, 474, "engines", "fit_frame", ("the one step outside", "the graph: the size")),
        Box(four, 474, "engines", "session", ("onnxruntime, OpenVINO", "or a TensorRT plan")),
        Box(five, 474, "crf", "temporal", ("what the frames", "before said")),
        Box(six, 474, "engines", "upsample_argmax", ("labels at frame size;", "or crf.DenseCrf")),
        Box(five, 612, "engines", "blend", ("colours over the", "frame")),
        Box(four, 612, "runtime", "overlay", ("legend, rate, and the", "age of the frame")),
        Box(three, 612, "runtime", "sinks", ("window, recording,", "page, metrics")),
        Box(six, 372, "export", "plans/", ("built where they run",)),
    ]
    parts = [
        band(16, 320, width),
        text(32, 44, "A weight's journey: once, on a PC", "head"),
        band(350, 362, width),
        text(32, 380, "A frame's journey: live, on the device, without torch or onnx", "head"),
        *(box.draw() for box in weight + frame),
        *(way((x + 168, 112), (x + 200, 112)) for x in columns[:3]),
        way((four + 168, 100), (816, 100), (816, 76), (five, 76)),
        way((four + 168, 124), (816, 124), (816, 164), (five, 164)),
        way((five + 168, 76), (1016, 76), (1016, 100), (six, 100)),
        way((five + 168, 164), (1016, 164), (1016, 124), (six, 124)),
        way((116, 152), (116, 220), (916, 220), (916, 206)),
        text(128, 214, "frames from where the camera will be"),
        way((1070, 152), (1070, 276), (five + 168, 276)),
        way((1090, 152), (1090, 330), (716, 330), (716, 318)),
        way((1150, 152), (1150, 370)),
        text(1143, 262, "copied", anchor="end"),
        way((six, 404), (716, 404), (716, 472)),
        text(730, 398, "graphs and plans, hash-checked before all else"),
        *(way((x + 168, 514), (x + 200, 514)) for x in columns[:5]),
        text(216, 464, "RGB, any size", anchor="middle"),
        text(616, 464, "uint8 [1, H, W, 3]", anchor="middle"),
        text(816, 464, "logits, stride 4", anchor="middle"),
        way((1116, 554), (1116, 652), (five + 168, 652)),
        text(1106, 600, "labels, uint8 [H, W]", anchor="end"),
        way((five, 652), (four + 168, 652)),
        way((four, 652), (three + 168, 652)),
        text(32, 640, "Capture, inference and drawing overlap, in"),
        text(32, 656, "threads of their own. On a GPU, all that is"),
        text(32, 672, "from fit_frame to blend stays in its memory."),
    ]
    return page(width, 728, "DeepLab Edge: a weight's journey and a frame's journey", parts)


def rooms() -> str:
    """Who may import whom: an arrow points from what is imported to who imports it."""
    boxes = [
        Box(230, 60, "export", "ONNX and engines", ("build_engine.py, verify.py",)),
        Box(120, 168, "train", "the networks", ("fit.py, evaluate.py",)),
        Box(340, 168, "calibration", "INT8 and its price", ("report.py, tune_crf.py",)),
        Box(340, 276, "crf", "the dense CRF", ("and earlier frames",)),
        Box(120, 384, "scenes", "labelled frames", ("and their scores",)),
        Box(340, 384, "engines", "the bundle", ("sessions, pixel loops",)),
        Box(640, 168, "runtime", "the stream", ("stream.py, its page",)),
    ]
    parts = [
        band(16, 456, 850),
        *(box.draw() for box in boxes),
        text(32, 44, "What trains and builds", "head"),
        text(640, 44, "What a device runs", "head"),
        way((204, 168), (290, 126)),
        way((424, 168), (338, 126)),
        way((204, 384), (204, 234)),
        way((236, 384), (352, 234)),
        way((424, 276), (424, 234)),
        way((364, 276), (256, 234)),
        way((424, 384), (424, 342)),
        way((508, 308), (680, 308), (680, 234)),
        way((508, 416), (724, 416), (724, 234)),
        way((204, 448), (204, 460), (768, 460), (768, 234)),
        text(520, 302, "crf"),
        text(520, 410, "engines"),
        text(520, 454, "the drawn street alone"),
    ]
    return page(850, 488, "The rooms of DeepLab Edge, and who may import whom", parts)


def gpu_path() -> str:
    """What stays on the GPU: one image goes up, one result comes down."""
    boxes = [
        Box(32, 72, "runtime", "source", ("RGB [H, W, 3]",)),
        Box(32, 262, "runtime", "status, legend", ("on the CPU, in the", "drawing thread")),
        Box(292, 72, "engines", "frame", ("as it came",)),
        Box(492, 72, "engines", "resize", ("to the model's size",)),
        Box(692, 72, "engines", "TensorRT plan", ("logits, stride 4",)),
        Box(692, 172, "crf", "evidence", ("of the frames before,", "on the logits' grid")),
        Box(492, 272, "engines", "arg max", ("or crf: exact CRF",)),
        Box(292, 272, "engines", "colours", ("mixed over the frame",)),
    ]
    parts = [
        band(16, 358, 232),
        '<rect class="band" x="276" y="16" width="600" height="358" rx="10"/>',
        text(32, 44, "Host", "head"),
        text(292, 44, "GPU, one stream", "head"),
        *(box.draw() for box in boxes),
        way((200, 96), (292, 96)),
        text(246, 88, "3 H W bytes", anchor="middle"),
        way((460, 104), (492, 104)),
        way((660, 104), (692, 104)),
        way((776, 136), (776, 172)),
        way((620, 136), (620, 204), (692, 204)),
        text(612, 196, "its grid", anchor="end"),
        way((692, 234), (600, 234), (600, 272)),
        way((400, 136), (400, 220), (560, 220), (560, 272)),
        text(408, 212, "edges"),
        way((340, 136), (340, 272)),
        way((492, 304), (460, 304)),
        way((292, 290), (200, 290)),
        text(246, 282, "3 H W bytes", anchor="middle"),
        way((576, 336), (576, 354), (116, 354), (116, 342)),
        text(330, 369, "labels, H W bytes; both in one copy"),
    ]
    return page(892, 390, "A frame's way on a GPU: one image up, one result down", parts)


DIAGRAMS = {"architecture.svg": architecture, "rooms.svg": rooms, "gpu_path.svg": gpu_path}


def main() -> None:
    """Write all diagrams."""
    for name, draw in DIAGRAMS.items():
        (IMAGES / name).write_text(draw())


if __name__ == "__main__":
    main()
