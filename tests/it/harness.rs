//! What every whole-path test needs: temporary directories, the built binary, waiting on values.
