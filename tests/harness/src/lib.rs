//! Runs boards under QEMU for tests.
