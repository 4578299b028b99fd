//! Waiting between requests that must not be seen as one wallet's.

use std::time::Duration;

use rand::RngExt;

/// How long a wallet waits between such requests: a time drawn evenly from zero to `longest`, afresh each time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    longest: Duration,
}

impl Pace {
    /// No waiting: for tests and simulations, where nobody watches.
    pub const NONE: Pace = Pace { longest: Duration::ZERO };

    /// Waits up to `longest`.
    pub fn up_to(longest: Duration) -> Self {
        Pace { longest }
    }

    /// Waits once.
    pub fn wait(&self) {
        if !self.longest.is_zero() {
            std::thread::sleep(rand::rng().random_range(Duration::ZERO..=self.longest));
        }
    }
}
