//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use sis_agent::{Config, Places};
use sis_protocol::pairing::Role;
use sis_protocol::wire::DEFAULT_PORT;

pub(crate) const USAGE: &str = "\
usage: sis-agent [run] [--state-dir DIR] [--listen ADDRESS:PORT] [--source auto|control|proc]
                 [--control-device PATH] [--socket PATH] [--name NAME] [--quiet]
       sis-agent pair [--role viewer|operator|owner] [--socket PATH]
       sis-agent list | status | unpair NAME-OR-KEY  [--socket PATH]
       sis-agent --help | --version

  --state-dir       key and paired clients            (/var/lib/sis)
  --listen          UDP address                       (0.0.0.0:8870)
  --source          where metrics and events come from; auto: the control device if there is one, else /proc
  --control-device  the kernel's control device       (/dev/sis)
  --socket          local socket, `none` for none     (/run/sis/agent.sock)
  --name            what the board is called          (the host name)
  --quiet           only errors on standard error";

const SOCKET: &str = "/run/sis/agent.sock";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Run(Box<Run>),
    Pair { socket: PathBuf, role: Role },
    List { socket: PathBuf },
    Unpair { socket: PathBuf, client: String },
    Status { socket: PathBuf },
    Help,
    Version,
}

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) source: SourceChoice,
    pub(crate) control_device: PathBuf,
    pub(crate) is_quiet: bool,
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Eq for Run {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceChoice {
    Auto,
    Control,
    Proc,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("`{0}` is not understood")]
    Unknown(String),
    #[error("`{0}` needs a value")]
    NoValue(String),
    #[error("`{value}` is no good for `{option}`")]
    BadValue { option: String, value: String },
    #[error("`unpair` needs the client's name or key")]
    NoClient,
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Action, ArgumentError> {
    let mut words = Vec::new();
    let mut config = Config {
        state_dir: "/var/lib/sis".into(),
        listen: SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)),
        socket: Some(SOCKET.into()),
        name: None,
        places: Places::default(),
    };
    let (mut source, mut control_device, mut is_quiet, mut role) =
        (SourceChoice::Auto, PathBuf::from("/dev/sis"), false, Role::Owner);
    let mut arguments = arguments;
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| ArgumentError::NoValue(option.clone()));
        let bad = |value: String| ArgumentError::BadValue {
            option: option.clone(),
            value,
        };
        match option.as_str() {
            "--help" | "-h" => return Ok(Action::Help),
            "--version" | "-V" => return Ok(Action::Version),
            "--quiet" => is_quiet = true,
            "--state-dir" => config.state_dir = value()?.into(),
            "--name" => config.name = Some(value()?),
            "--control-device" => control_device = value()?.into(),
            "--listen" => {
                let text = value()?;
                config.listen = text.parse().map_err(|_| bad(text))?;
            }
            "--socket" => {
                let path = value()?;
                config.socket = (path != "none").then(|| path.into());
            }
            "--role" => {
                let text = value()?;
                role = text.parse().map_err(|_| bad(text))?;
            }
            "--source" => {
                source = match value()?.as_str() {
                    "auto" => SourceChoice::Auto,
                    "control" => SourceChoice::Control,
                    "proc" => SourceChoice::Proc,
                    other => return Err(bad(other.to_owned())),
                }
            }
            _ if option.starts_with('-') => return Err(ArgumentError::Unknown(option)),
            _ => words.push(option),
        }
    }
    let socket = config.socket.clone().unwrap_or_else(|| SOCKET.into());
    let mut words = words.into_iter();
    let action = match words.next().as_deref() {
        None | Some("run") => Action::Run(Box::new(Run {
            config,
            source,
            control_device,
            is_quiet,
        })),
        Some("pair") => Action::Pair { socket, role },
        Some("list") => Action::List { socket },
        Some("status") => Action::Status { socket },
        Some("unpair") => Action::Unpair {
            socket,
            client: words.next().ok_or(ArgumentError::NoClient)?,
        },
        Some(other) => return Err(ArgumentError::Unknown(other.to_owned())),
    };
    match words.next() {
        Some(extra) => Err(ArgumentError::Unknown(extra)),
        None => Ok(action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Action, ArgumentError> {
        parse(line.split_ascii_whitespace().map(str::to_owned))
    }

    #[test]
    fn defaults_are_the_boards() {
        let Ok(Action::Run(run)) = parsed("") else {
            panic!("not a run")
        };
        assert_eq!(run.config.listen.port(), 8870);
        assert_eq!(
            run.config.socket.as_deref(),
            Some(std::path::Path::new("/run/sis/agent.sock"))
        );
        assert_eq!(run.source, SourceChoice::Auto);
    }

    #[test]
    fn everything_can_be_given() {
        let Ok(Action::Run(run)) =
            parsed("--state-dir /s --listen 127.0.0.1:0 --source proc --socket none --name n --quiet")
        else {
            panic!("not a run")
        };
        assert_eq!(run.config.listen.port(), 0);
        assert!(run.config.socket.is_none() && run.is_quiet);
        let pair = Action::Pair {
            socket: "/x".into(),
            role: Role::Viewer,
        };
        assert_eq!(parsed("pair --role viewer --socket /x"), Ok(pair));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parsed("--lisen x"), Err(ArgumentError::Unknown("--lisen".into())));
        assert_eq!(parsed("--listen"), Err(ArgumentError::NoValue("--listen".into())));
        assert!(matches!(parsed("--listen here"), Err(ArgumentError::BadValue { .. })));
        assert_eq!(parsed("unpair"), Err(ArgumentError::NoClient));
        assert_eq!(parsed("pair again"), Err(ArgumentError::Unknown("again".into())));
    }
}
