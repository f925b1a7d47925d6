//! Colour, where it is wanted. Everything can be read without it.

/// Puts colour around words, or leaves them alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// With colour if `colour`.
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Without colour.
    pub fn plain() -> Self {
        Self::new(false)
    }

    /// Whether there is colour.
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    /// Something was achieved: green.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Something needs attention: yellow.
    pub fn bad(self, text: &str) -> String {
        self.with("33", text)
    }

    /// Detail.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A heading.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
