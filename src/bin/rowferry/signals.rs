//! What the command does about signals; the library does nothing.

#![cfg_attr(unix, allow(unsafe_code))] // How a signal is handled can be asked and set in no other way.

use rowferry::{Error, ErrorKind};

use crate::failure::Failure;

/// To be called first. A write beyond the size that a file may have then fails as others do; by default, it would end the program.
pub fn begin() {
    #[cfg(unix)]
    // SAFETY: SIGXFSZ is a signal, and to ignore it runs no code.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Calls this at SIGINT, SIGTERM and SIGHUP; but at SIGHUP only if it was not ignored when the program began, as `nohup` has it.
pub fn on_signal(call: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    #[cfg(unix)]
    let outlives_its_terminal = ignores(libc::SIGHUP);
    ctrlc::set_handler(call)
        .map_err(|error| Error::new(ErrorKind::System, format!("cannot wait for signals: {error}")).with_source(error))?;
    #[cfg(unix)]
    if outlives_its_terminal {
        // SAFETY: SIGHUP is a signal, and to ignore it runs no code.
        unsafe {
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
        }
    }
    Ok(())
}

/// Whether a signal is ignored.
#[cfg(unix)]
fn ignores(signal: libc::c_int) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and there is room for what is asked, which is all zeros until it was answered: a valid value.
    let now = unsafe {
        if libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) != 0 {
            return false;
        }
        now.assume_init()
    };
    now.sa_sigaction == libc::SIG_IGN
}
