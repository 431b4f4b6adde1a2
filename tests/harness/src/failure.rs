//! Why a test could not go on, written so that `fn test() -> Result<()>` shows all of it.

use std::fmt;

/// What a step of a test gives.
pub type Result<T> = std::result::Result<T, Failure>;

/// A step that failed, and the end of the console at that time.
pub struct Failure {
    message: String,
    console: String,
}

impl Failure {
    /// A failure before there was a console.
    pub fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            console: String::new(),
        }
    }

    pub(crate) fn with_console(message: impl fmt::Display, console: String) -> Self {
        Self {
            message: message.to_string(),
            console,
        }
    }

    /// What failed.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if !self.console.is_empty() {
            write!(formatter, "\n--- end of the console ---\n{}\n---", self.console)?;
        }
        Ok(())
    }
}

// The test runner prints a failed test's error with `{:?}`: that must be readable.
impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Failure {}
