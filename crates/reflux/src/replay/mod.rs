//! A run in the terminal, event by event.
//!
//! ```text
//! items ─→ Timeline (rows, states) ─→ View (what is selected) ─→ Screen (lines) ─→ terminal
//! ```
//!
//! Works on a record that was read once: nothing is asked for while somebody looks. Absent: a mouse,
//! and following a run that goes on (`reflux show`, the page).

mod screen;
mod timeline;
mod view;

use std::io::{self, Write as _};
use std::sync::mpsc::channel;

use console::{Key, Term};
use reflux_server::Error;

pub use timeline::Timeline;
use view::{After, View};

use crate::failure::INTERRUPTED;
use crate::interrupt;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";

/// Shows a run until its reader leaves.
///
/// # Errors
/// The record does not fit together, or the terminal cannot be used.
pub fn show(timeline: Timeline<'_>, title: &str) -> Result<(), Error> {
    let term = Term::stdout();
    let mut view = View::new(timeline, title);
    let _own = Own::take().map_err(unusable)?;
    loop {
        let (rows, columns) = term.size();
        let lines = screen::draw(&mut view, usize::from(rows), usize::from(columns))?;
        // Each line ends with what clears the rest of it: no flicker, nothing left over.
        let text: Vec<String> = lines.iter().map(|line| format!("{line}\x1b[0m\x1b[K")).collect();
        print(&format!("{HOME}{}\x1b[J", text.join("\r\n"))).map_err(unusable)?;
        let key = match term.read_key_raw() {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Key::CtrlC,
            Err(error) => return Err(unusable(error)),
        };
        match view.press(&key)? {
            After::Stay => {}
            After::Leave => return Ok(()),
        }
    }
}

/// The terminal while it is ours: given back however this ends.
struct Own;

impl Own {
    fn take() -> io::Result<Self> {
        // A signal between two keys ends the process: the screen is given back first.
        let (told, _) = channel::<()>();
        interrupt::listen(told, || {
            let _ = print(LEAVE);
            std::process::exit(INTERRUPTED.into());
        });
        print(ENTER)?;
        Ok(Self)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Whoever took the terminal away does not miss it.
        let _ = print(LEAVE);
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn unusable(error: io::Error) -> Error {
    Error::unavailable(format!("the terminal cannot be used: {error}"))
        .suggest("print a state with --at or --json instead")
}
