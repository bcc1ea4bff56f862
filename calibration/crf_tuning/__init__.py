"""The search for CRF settings that help a model, cross-validated."""
