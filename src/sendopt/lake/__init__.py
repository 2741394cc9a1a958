"""The lake's folder, without any engine: who may write it now."""
