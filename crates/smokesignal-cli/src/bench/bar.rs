//! The progress of a run: one line on stderr, if that is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use smokesignal_load::{Phase, Workload};

/// The progress line; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Creates a line that begins with this text.
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

    /// Shows that a new phase begins, and restarts the clock.
    pub(super) fn phase(&self, text: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.reset_elapsed();
            bar.set_message(text.into());
        }
    }

    /// Shows that a phase of a workload begins.
    pub(super) fn load(&self, phase: Phase, workload: &Workload) {
        self.phase(match phase {
            Phase::Joining => "joining".to_owned(),
            Phase::Probing => "waiting until every node hears each writer".to_owned(),
            Phase::WarmingUp => format!("warming up for {} s", workload.warm_up.as_secs_f64()),
            Phase::Measuring => format!("measuring for {} s", workload.duration.as_secs_f64()),
            Phase::Resting => "waiting for the last messages".to_owned(),
        });
    }

    /// Runs a function that prints, with the line hidden: stdout and stderr are often one terminal.
    pub(super) fn hide<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Shows more about the present phase.
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
