//! Reading a line from a person: keys, editing, history, completion.

pub(crate) mod complete;
pub(crate) mod editor;
pub(crate) mod history;
pub(crate) mod keys;
