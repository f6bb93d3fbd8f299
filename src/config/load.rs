//! The room's only contact with the machine: the file, the environment, programs on disk.
//!
//! `load` reads once, so that the bytes that were digested are the bytes that were checked.
//! `Surroundings` is everything a check may ask of the machine; tests pass an imagined one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{
    Code, Config, ConfigErrors, Digests, Gateway, JwksPlace, TlsConfig,
    check::{self, Exposure, Written},
    policies,
    report::{Note, Notes},
};
use crate::{
    domain::limits::{CONFIG_BYTES_MAX, DIRECTORY_FILES_MAX, SECRET_BYTES_MAX},
    sys::{Distrust, Trust},
};

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// What of the machine the checks may see.
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    read_secret: fn(&Path) -> io::Result<String>,
    /// Whether the path is a file that we may execute.
    is_program: fn(&Path) -> io::Result<()>,
    is_directory: fn(&Path) -> bool,
    read_directory: fn(&Path) -> io::Result<Files>,
    /// Stand in the directory of policies, whatever the machine has there.
    policies: BTreeMap<String, String>,
}

/// The files of a directory by name, each as far as it could be read; none if there is no such
/// directory.
pub(super) type Files = BTreeMap<String, io::Result<String>>;

/// Reads and checks `servers.toml`.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let around = Surroundings::of_this_process();
    with_written(path, None, |written| check::check(written, None, &around))
}

/// Checks a text as what is to stand in the file at `path`, which is there already.
pub fn check_text(path: &Path, text: &str) -> Result<Config, ConfigErrors> {
    let refused = |error: io::Error| refused_at(path, "", unreadable(path, &error));
    let exposure = File::open(path).and_then(|file| exposure(&file)).map_err(refused)?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let written = Written { text, shown: path, absolute: &absolute, exposure };
    check::check(&written, None, &Surroundings::of_this_process())
}

/// Reads and checks what is to take the place of `running`, in the file that it came from. What
/// cannot change without a restart is a mistake.
pub fn load_next(running: &Config) -> Result<Config, ConfigErrors> {
    let around = Surroundings::of_this_process();
    let policies = Some(&*running.gateway.policies);
    with_written(&running.source, policies, |written| check::check(written, Some(running), &around))
}

/// Where a running gateway is found, by its `servers.toml`. Mistakes elsewhere in the file and
/// the secrets of the servers are the gateway's own business: whoever wants to stop it must not
/// stumble over them.
pub fn load_gateway(path: &Path) -> Result<Gateway, ConfigErrors> {
    let around = Surroundings::of_this_process();
    with_written(path, None, |written| check::check_gateway(written, &around))
}

/// What is wrong with the files that decide who may come in: somebody else could change them.
pub fn distrusted(config: &Config) -> Vec<Distrust> {
    let gateway = &config.gateway;
    let trust = Trust::of(&gateway.state_dir);
    let jwks = config.auth.jwt.as_ref().and_then(|jwt| match &jwt.jwks {
        JwksPlace::File(path) => Some(path.clone()),
        JwksPlace::Url(_) => None,
    });
    let files = gateway.tls.iter().flat_map(TlsConfig::files).cloned().chain(jwks);
    let files = files.chain([gateway.keys(), gateway.estop().token]);
    let state = trust.look_at(&gateway.state_dir).err();
    state.into_iter().chain(files.filter_map(|path| trust.look(&path).err())).collect()
}

/// What the file and the directory of policies hold now; `None` if the file cannot be read.
pub fn digest(path: &Path, policies: &Path) -> Option<Digests> {
    let (bytes, _) = read(path).ok()?;
    Some(Digests { file: Sha256::digest(bytes).into(), policies: policies::digest(policies) })
}

fn with_written<T>(
    path: &Path,
    policies: Option<&Path>,
    check: impl FnOnce(&Written<'_>) -> Result<T, ConfigErrors>,
) -> Result<T, ConfigErrors> {
    let (bytes, exposure) = read(path).map_err(|e| refused_at(path, "", unreadable(path, &e)))?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let checked = match str::from_utf8(&bytes) {
        Ok(text) => check(&Written { text, shown: path, absolute: &absolute, exposure }),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let text = String::from_utf8_lossy(good);
            let at = text.len();
            let note = Note::new(Code::Unreadable, at..at, "the file is not UTF-8")
                .label("after this place")
                .help("save the file as UTF-8");
            Err(refused_at(path, &text, note))
        }
    };
    checked.map_err(|errors| {
        let seen = || Digests {
            file: Sha256::digest(&bytes).into(),
            policies: policies.map(super::policies::digest).unwrap_or_default(),
        };
        ConfigErrors { digest: Some(errors.digest.unwrap_or_else(seen)), ..errors }
    })
}

impl Config {
    /// Checks a text as if it stood in the file `path`, without reading that file.
    pub fn from_str_at(
        text: &str,
        path: &Path,
        around: &Surroundings,
    ) -> Result<Self, ConfigErrors> {
        let written =
            Written { text, shown: path, absolute: path, exposure: Exposure::OwnerOrGroup };
        check::check(&written, None, around)
    }
}

impl Surroundings {
    pub fn of_this_process() -> Self {
        // A variable that is not UTF-8 cannot be named in the file, so it counts as not set.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let is_directory = |path: &Path| path.is_dir();
        Self {
            variables,
            read_secret,
            is_program,
            is_directory,
            read_directory,
            policies: BTreeMap::new(),
        }
    }

    /// No machine at all: no variables, nothing to be found.
    pub(super) fn nowhere() -> Self {
        Self {
            variables: BTreeMap::new(),
            read_secret: |_| Err(io::ErrorKind::NotFound.into()),
            is_program: |_| Err(io::ErrorKind::NotFound.into()),
            is_directory: |_| false,
            read_directory: |_| Ok(Files::new()),
            policies: BTreeMap::new(),
        }
    }

    /// A machine of the imagination: these variables, policies that allow everything, every secret
    /// file holding `from-file`, programs in `/bin` only, every directory but `/nowhere`.
    #[cfg(test)]
    pub(crate) fn imagined(variables: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            variables: variables.iter().map(own).collect(),
            read_secret: |path| match path.to_str() {
                Some("/nowhere/secret") => Err(io::ErrorKind::NotFound.into()),
                Some("/run/empty") => Ok("\n".to_owned()),
                _ => Ok("from-file\n".to_owned()),
            },
            is_program: |path| match path.parent().and_then(Path::to_str) {
                Some("/bin" | "relative" | "/etc/portcullis/tools") => Ok(()),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
            is_directory: |path| !path.starts_with("/nowhere"),
            read_directory: |_| Ok(Files::new()),
            policies: [("all.cedar".to_owned(), "permit(principal, action, resource);".to_owned())]
                .into(),
        }
    }

    /// The same with these files in every directory of policies.
    #[cfg(test)]
    pub(crate) fn with_policies(files: &[(&str, &str)]) -> Self {
        let variables = [("HOME", "/home/op"), ("PATH", "/bin")];
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let policies = files.iter().map(own).collect();
        Self { policies, ..Self::imagined(&variables) }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn read_secret(&self, path: &Path) -> io::Result<String> {
        (self.read_secret)(path)
    }

    pub(super) fn is_program(&self, path: &Path) -> io::Result<()> {
        (self.is_program)(path)
    }

    pub(super) fn read_directory(&self, path: &Path) -> io::Result<Files> {
        let mut files = (self.read_directory)(path)?;
        let is_tests = path.ends_with("tests");
        for (name, text) in &self.policies {
            match name.strip_prefix("tests/") {
                Some(name) if is_tests => files.insert(name.to_owned(), Ok(text.clone())),
                None if !is_tests => files.insert(name.clone(), Ok(text.clone())),
                Some(_) | None => None,
            };
        }
        Ok(files)
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        (self.is_directory)(path)
    }
}

/// Values of variables may be secrets.
impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// The bytes and the mode come from the same open file.
fn read(path: &Path) -> io::Result<(Vec<u8>, Exposure)> {
    let file = File::open(path)?;
    let exposure = exposure(&file)?;
    Ok((bounded(file, CONFIG_BYTES_MAX)?, exposure))
}

fn exposure(file: &File) -> io::Result<Exposure> {
    Ok(match file.metadata()?.permissions().mode() {
        mode if mode & OTHERS_WRITE != 0 => Exposure::Writable,
        mode if mode & OTHERS_READ != 0 => Exposure::Everybody,
        _ => Exposure::OwnerOrGroup,
    })
}

fn read_secret(path: &Path) -> io::Result<String> {
    let bytes = bounded(File::open(path)?, SECRET_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// Never reads without end, whatever kind of file it is.
fn bounded(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= bytes_max) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("it has more than {bytes_max} bytes")))
}

fn read_directory(dir: &Path) -> io::Result<Files> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
        Err(error) => return Err(error),
    };
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(written_by_all(dir));
    }
    let mut files = Files::new();
    for entry in entries {
        let path = entry?.path();
        // Through links: a directory that is swapped as a whole is full of them.
        if path.is_file()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            let read = File::open(&path).and_then(|file| match exposure(&file)? {
                Exposure::Writable => Err(written_by_all(&path)),
                Exposure::OwnerOrGroup | Exposure::Everybody => bounded(file, CONFIG_BYTES_MAX),
            });
            let text = read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            files.insert(name.to_owned(), text);
        }
        if files.len() > DIRECTORY_FILES_MAX {
            return Err(io::Error::other(format!("it has more than {DIRECTORY_FILES_MAX} files")));
        }
    }
    Ok(files)
}

fn written_by_all(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::other(format!("everybody on this machine can write it; run chmod o-w {path}"))
}

fn is_program(path: &Path) -> io::Result<()> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(io::Error::from)
}

fn unreadable(path: &Path, error: &io::Error) -> Note {
    let message = format!("`{}` cannot be read: {error}", path.display());
    Note::new(Code::Unreadable, 0..0, message).help("name another file with --config")
}

fn refused_at(path: &Path, text: &str, note: Note) -> ConfigErrors {
    let mut notes = Notes::default();
    notes.push(note);
    let (errors, warnings) = notes.settle(path, text);
    ConfigErrors { errors, warnings, digest: None }
}
