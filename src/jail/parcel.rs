//! What the gateway and a keeper say to each other over their control socket.
//!
//! First goes a pidfd of the gateway, then the *parcel*: the plan of the server (in a memfd, so
//! that no argument and no secret is ever seen in the helper's own arguments or environment) and
//! the pipes. Then single bytes go down (`TERMINATE`) and `Report`s come up. The socket keeps
//! message boundaries, so one receive is one message.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::PathBuf,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recv, recvmsg, send, sendmsg,
    },
};

use super::{Exit, Step};

/// Downwards: ask the server's process group to end.
pub(super) const TERMINATE: u8 = b'T';

/// In one message.
const DESCRIPTORS_MAX: usize = 4;

/// Everything that stage 2 has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: Option<PathBuf>,
    /// The directory of the server's own cgroup.
    pub(super) cgroup: Option<PathBuf>,
}

/// The server's ends of its pipes.
#[derive(Debug)]
pub(super) struct Pipes<F> {
    pub(super) stdin: F,
    pub(super) stdout: F,
    pub(super) stderr: F,
}

/// Upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Started { pid: i32 },
    Failed { step: Step, errno: i32 },
    Exited(Exit),
}

/// Sent before the keeper is born, so that it knows from its first moment whom to watch.
pub(super) fn send_gateway(control: impl AsFd, gateway: impl AsFd) -> io::Result<()> {
    send_descriptors(control, &[gateway.as_fd()])
}

/// A pidfd of the gateway: readable when it is gone, however it went.
pub(super) fn receive_gateway(control: impl AsFd) -> io::Result<OwnedFd> {
    let [gateway] = receive_descriptors(control)?;
    Ok(gateway)
}

pub(super) fn send_parcel(
    control: impl AsFd,
    plan: &Plan,
    pipes: &Pipes<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut memory = File::from(memfd_create("portcullis-plan", MemfdFlags::CLOEXEC)?);
    memory.write_all(&encode(plan))?;
    memory.rewind()?;
    send_descriptors(control, &[memory.as_fd(), pipes.stdin, pipes.stdout, pipes.stderr])
}

pub(super) fn receive_parcel(control: impl AsFd) -> io::Result<(Plan, Pipes<OwnedFd>)> {
    let [memory, stdin, stdout, stderr] = receive_descriptors(control)?;
    let mut bytes = Vec::new();
    File::from(memory).read_to_end(&mut bytes)?;
    let plan = decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    Ok((plan, Pipes { stdin, stdout, stderr }))
}

fn send_descriptors(control: impl AsFd, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    rights.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(control, &[IoSlice::new(b"P")], &mut rights, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_descriptors<const N: usize>(control: impl AsFd) -> io::Result<[OwnedFd; N]> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    // Nothing at all means that the other end is closed.
    <[OwnedFd; N]>::try_from(fds).map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

impl Report {
    pub(super) fn send(self, control: impl AsFd) -> io::Result<()> {
        let (tag, step, value) = match self {
            Self::Started { pid } => (b'S', 0, pid),
            Self::Failed { step, errno } => (b'F', step.to_byte(), errno),
            Self::Exited(Exit::Code(code)) => (b'C', 0, code),
            Self::Exited(Exit::Signal(signal)) => (b'K', 0, signal),
        };
        let [a, b, c, d] = value.to_le_bytes();
        send(control, &[tag, step, a, b, c, d], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// `Ok(None)`: the other end is closed.
    pub(super) fn receive(control: impl AsFd) -> io::Result<Option<Self>> {
        let mut bytes = [0_u8; 6];
        let (length, _) = recv(control, &mut bytes, RecvFlags::DONTWAIT)?;
        if length == 0 {
            return Ok(None);
        }
        let [tag, step, a, b, c, d] = bytes;
        let value = i32::from_le_bytes([a, b, c, d]);
        match tag {
            b'S' => Ok(Some(Self::Started { pid: value })),
            b'F' => Ok(Some(Self::Failed { step: Step::from_byte(step), errno: value })),
            b'C' => Ok(Some(Self::Exited(Exit::Code(value)))),
            b'K' => Ok(Some(Self::Exited(Exit::Signal(value)))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Length-prefixed texts; a list is a count and its members. Both ends are the same program.
fn encode(plan: &Plan) -> Vec<u8> {
    fn count(out: &mut Vec<u8>, n: usize) {
        out.extend(u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes());
    }
    fn text(out: &mut Vec<u8>, text: &OsStr) {
        count(out, text.len());
        out.extend(text.as_bytes());
    }
    fn list<'a>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'a OsStr>) {
        count(out, items.len());
        items.for_each(|item| text(out, item));
    }
    let mut out = Vec::new();
    text(&mut out, plan.program.as_os_str());
    list(&mut out, plan.args.iter().map(OsString::as_os_str));
    list(&mut out, plan.env.iter().map(|(name, _)| name.as_os_str()));
    list(&mut out, plan.env.iter().map(|(_, value)| value.as_os_str()));
    list(&mut out, plan.cwd.iter().map(|path| path.as_os_str()));
    list(&mut out, plan.cgroup.iter().map(|path| path.as_os_str()));
    out
}

fn decode(mut bytes: &[u8]) -> Option<Plan> {
    fn count(bytes: &mut &[u8]) -> Option<usize> {
        let (head, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        usize::try_from(u64::from_le_bytes(*head)).ok()
    }
    fn text(bytes: &mut &[u8]) -> Option<OsString> {
        let length = count(bytes)?;
        let (head, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(OsString::from_vec(head.to_vec()))
    }
    fn list(bytes: &mut &[u8]) -> Option<Vec<OsString>> {
        let length = count(bytes)?;
        (0..length).map(|_| text(bytes)).collect()
    }
    let plan = Plan {
        program: text(&mut bytes)?.into(),
        args: list(&mut bytes)?,
        env: list(&mut bytes)?.into_iter().zip(list(&mut bytes)?).collect(),
        cwd: list(&mut bytes)?.pop().map(PathBuf::from),
        cgroup: list(&mut bytes)?.pop().map(PathBuf::from),
    };
    bytes.is_empty().then_some(plan)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    use super::{Plan, decode, encode};

    #[test]
    fn a_plan_survives_the_journey_byte_by_byte() {
        let odd = OsString::from_vec(vec![0xff, b'=', b'\n', 0xc3]);
        let plan = Plan {
            program: "/bin/true".into(),
            args: vec!["".into(), odd.clone()],
            env: vec![("A".into(), odd.clone()), ("B".into(), "".into())],
            cwd: Some(odd.into()),
            cgroup: None,
        };
        let bytes = encode(&plan);
        assert_eq!(decode(&bytes), Some(plan));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&Plan::default().program.into_os_string().into_vec()), None);
    }
}
