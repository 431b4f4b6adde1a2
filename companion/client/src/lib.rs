//! Client of a board: sans-IO session with thin transport shells.
