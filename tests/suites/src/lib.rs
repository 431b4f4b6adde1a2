//! Whole-system tests, named by behaviour.
