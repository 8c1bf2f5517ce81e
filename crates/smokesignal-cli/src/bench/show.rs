//! Where a run is: a line on stderr while it is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use smokesignal_load::{Phase, Workload};

#[derive(Debug)]
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    /// The text says what is measured.
    pub(super) fn new(text: String) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix}{msg} ({elapsed})");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::no_length().with_style(style).with_prefix(text);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self(bar)
    }

    /// What is being done, from now on; the clock starts anew.
    pub(super) fn phase(&self, text: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.reset_elapsed();
            bar.set_message(text.into());
        }
    }

    /// The same for a workload.
    pub(super) fn load(&self, phase: Phase, workload: &Workload) {
        self.phase(match phase {
            Phase::Joining => "the nodes join".to_owned(),
            Phase::Probing => "everyone gets to hear each writer".to_owned(),
            Phase::WarmingUp => format!("warming up for {} s", workload.warm_up.as_secs_f64()),
            Phase::Measuring => format!("measuring for {} s", workload.duration.as_secs_f64()),
            Phase::Resting => "the last messages arrive".to_owned(),
        });
    }

    /// Prints, while the line is out of the way.
    pub(super) fn hide<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// More about the present phase.
    pub(super) fn detail(&self, text: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.into());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
