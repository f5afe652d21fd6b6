//! Tokens, codes and passwords as they are typed, or read from where nobody else sees them.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use rowferry::{Auth, Error, ErrorKind, Token};
use zeroize::Zeroizing;

use super::OTHER_SITE;
use crate::failure::Failure;

/// Most that is read from a file with a secret, in bytes.
const LONGEST: u64 = 4096;

/// A secret that was typed. It does not print.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The secret as a token. What can be none is wrong usage.
    pub fn token(&self) -> Result<Token, Failure> {
        Token::parse(self.0.trim()).map_err(Failure::typed)
    }

    /// The first line of a file.
    fn read(mut file: impl Read, name: &str) -> Result<Self, Failure> {
        // With room for the longest, so that no copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
        file.by_ref().take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| cannot_read(name, error))?;
        if bytes.len() as u64 > LONGEST {
            let message = format!("{name} is not a file with a secret: it has more than {LONGEST} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message).with_hint("Check the path.").into());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::new(ErrorKind::InvalidInput, format!("{name} is not a file with a secret: it is not UTF-8"))
                .with_hint("Check the path.")
        })?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Secret(Zeroizing::new(line.to_owned()))),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("there is no secret in the first line of {name}"))
                .with_hint("Put it there, and nothing else.")
                .into()),
        }
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Secret(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secret of an option, or of the file that another option, or else the environment, names; `-` is standard input.
pub fn secret(given: &Option<Secret>, file: &Option<PathBuf>) -> Result<Option<Secret>, Failure> {
    match file.as_ref().filter(|_| given.is_none()) {
        None => Ok(given.clone()),
        Some(path) if path.as_os_str() == "-" => Secret::read(std::io::stdin().lock(), "standard input").map(Some),
        Some(path) => {
            let name = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|error| cannot_read(&name, error))?;
            Secret::read(file, &name).map(Some)
        }
    }
}

/// Standard input has one secret.
pub fn at_most_one_from_stdin(files: &[&Option<PathBuf>]) -> Result<(), Failure> {
    let from_stdin = files.iter().filter(|file| file.as_ref().is_some_and(|path| path.as_os_str() == "-")).count();
    match from_stdin {
        0 | 1 => Ok(()),
        _ => Err(Failure::usage(
            Error::new(ErrorKind::InvalidInput, "only one secret can be read from standard input")
                .with_hint("Put the others into files."),
        )),
    }
}

fn cannot_read(name: &str, error: std::io::Error) -> Failure {
    let message = format!("cannot read {name}: {error}");
    Error::new(ErrorKind::File, message).with_hint("Check the path.").with_source(error).into()
}

/// What gives the right to look at or pull from another site whose URL is typed. Who flattens this says that one is needed.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Access {
    /// The code that the other site gave out; it works once
    ///
    /// Others on this machine can see it: --code-file hides it.
    #[arg(long, help_heading = OTHER_SITE, value_name = "CODE", allow_hyphen_values = true)]
    pub code: Option<Secret>,

    /// A file with the code, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, help_heading = OTHER_SITE, value_name = "FILE")]
    pub code_file: Option<PathBuf>,

    /// The token of a connection, as the other site showed it
    ///
    /// Others on this machine can see it: --token-file hides it.
    #[arg(long, help_heading = OTHER_SITE, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<Secret>,

    /// A file with the token, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, help_heading = OTHER_SITE, value_name = "FILE", env = "ROWFERRY_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,

    #[command(flatten)]
    pub password: Password,
}

/// The password that a connection may ask for.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Password {
    /// The connection's download password, if it asks for one
    #[arg(long, help_heading = OTHER_SITE, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub password: Option<Secret>,

    /// A file with the password, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, help_heading = OTHER_SITE, value_name = "FILE", env = "ROWFERRY_PASSWORD_FILE", hide_env_values = true)]
    pub password_file: Option<PathBuf>,
}

impl Access {
    /// Whether it is a code, which works once.
    pub fn is_code(&self) -> bool {
        self.code.is_some() || self.code_file.is_some()
    }

    /// What was typed, with what its files say.
    pub fn auth(&self) -> Result<Auth, Failure> {
        // A code goes without what the environment says of a token and its password.
        if let Some(code) = secret(&self.code, &self.code_file)? {
            return Ok(Auth::code(code.as_str().trim()));
        }
        at_most_one_from_stdin(&[&self.token_file, &self.password.password_file])?;
        // Where this is flattened, clap asks for one of them.
        let token = secret(&self.token, &self.token_file)?.ok_or_else(|| {
            let error = Error::new(ErrorKind::InvalidInput, "neither a code nor a token was given");
            Failure::usage(error.with_hint("Give --code or --token."))
        })?;
        let auth = Auth::token(token.as_str());
        Ok(match self.password.secret()? {
            Some(password) => auth.password(password.as_str()),
            None => auth,
        })
    }
}

impl Password {
    pub fn secret(&self) -> Result<Option<Secret>, Failure> {
        secret(&self.password, &self.password_file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_and_does_not_print() {
        let read = |text: &[u8]| Secret::read(text, "a.txt").map(|secret| secret.as_str().to_owned());
        assert_eq!(read(b"hunter2\r\nmore\n").unwrap(), "hunter2");
        assert_eq!(read(b" a b ").unwrap(), " a b ");
        for bad in [&b""[..], b"\nhunter2", b"\xff", &[b'x'; 4097]] {
            assert!(read(bad).is_err());
        }
        assert_eq!(format!("{:?}", Secret::from_str("hunter2")), "Ok(Secret(..))");
    }
}
