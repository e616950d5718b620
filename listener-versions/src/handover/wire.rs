//! Messages and descriptors over a Unix socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{BATCH, Message};
use super::{HandoverError, tellable};

/// Room for as many descriptors as one message may have.
const SPACE: usize = rustix::cmsg_space!(ScmRights(BATCH));

/// One connection between an old process and a new one.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UnixStream,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    says_goodbye: bool,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // A process that panics is about to die.
        if self.says_goodbye && !std::thread::panicking() {
            drop(self.send_now(&Message::Goodbye, &[]));
        }
    }
}

impl Wire {
    /// Refuses a process of another user: the process that has the sockets has the traffic.
    pub(super) fn new(stream: UnixStream) -> Result<Self, HandoverError> {
        let theirs = stream.peer_cred()?.uid();
        let ours = rustix::process::geteuid().as_raw();
        if theirs != ours {
            return Err(HandoverError::User { theirs, ours });
        }
        Ok(Self {
            stream,
            bytes: Vec::new(),
            fds: VecDeque::new(),
            says_goodbye: false,
        })
    }

    /// Whether the end of this connection, by an error or because a future is dropped, is the end
    /// of nothing else.
    pub(super) fn say_goodbye(&mut self, say: bool) {
        self.says_goodbye = say;
    }

    /// The other process, as the kernel knows it.
    pub(super) fn peer(&self) -> u32 {
        let pid = self.stream.peer_cred().ok().and_then(|peer| peer.pid());
        pid.and_then(|pid| pid.try_into().ok()).unwrap_or(0)
    }

    /// Sends a message, with its descriptors.
    pub(super) async fn send(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<(), HandoverError> {
        let frame = message.encode();
        let sent = tokio::time::timeout(tellable(patience), async {
            let mut rest = &frame[..];
            let mut fds = fds;
            while !rest.is_empty() {
                let send = || send_some(&self.stream, rest, fds);
                let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
                rest = &rest[sent..];
                // They went with the first byte.
                fds = &[];
            }
            io::Result::Ok(())
        });
        sent.await
            .map_err(|_| HandoverError::TimedOut)?
            .map_err(lost)
    }

    /// Sends a message, with its descriptors, without waiting: the other process has read
    /// everything that was sent before.
    ///
    /// # Errors
    ///
    /// Nothing of it was sent, unless the other process has stopped to read.
    pub(super) fn send_now(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), HandoverError> {
        let frame = message.encode();
        let sent = send_some(&self.stream, &frame, fds).map_err(lost)?;
        if sent < frame.len() {
            return Err(HandoverError::Lost);
        }
        Ok(())
    }

    /// Ends the connection for both, without a goodbye.
    pub(super) fn hang_up(&mut self) {
        self.says_goodbye = false;
        drop(SockRef::from(&self.stream).shutdown(Shutdown::Both));
    }

    /// Waits until something has come, or the connection has ended. Nothing is read.
    pub(super) async fn readable(&self, patience: Duration) -> Result<(), HandoverError> {
        if !self.bytes.is_empty() {
            return Ok(());
        }
        let peeked = self.stream.async_io(Interest::READABLE, || self.peek());
        let peeked = tokio::time::timeout(tellable(patience), peeked);
        let peeked = peeked.await.map_err(|_| HandoverError::TimedOut)?;
        peeked.map(drop).map_err(lost)
    }

    /// How many bytes can be read, at most one; none if the connection has ended.
    fn peek(&self) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let (_, length) = recv(&self.stream, &mut [0], flags)?;
        Ok(length)
    }

    /// Another descriptor of the connection.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// The next message, and its descriptors.
    pub(super) async fn receive(
        &mut self,
        patience: Duration,
    ) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
        let received = tokio::time::timeout(tellable(patience), self.receive_whenever());
        received.await.map_err(|_| HandoverError::TimedOut)?
    }

    /// The same without a limit of time. What has come is kept if it is dropped.
    pub(super) async fn receive_whenever(
        &mut self,
    ) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
        loop {
            if let Some((message, length, fds)) = Message::decode(&self.bytes)? {
                if self.fds.len() < fds {
                    return Err(HandoverError::Malformed("descriptors are missing"));
                }
                self.bytes.drain(..length);
                return Ok((message, self.fds.drain(..fds).collect()));
            }
            let Self {
                stream, bytes, fds, ..
            } = self;
            let come = stream
                .async_io(Interest::READABLE, || receive_some(stream, bytes, fds))
                .await
                .map_err(lost)?;
            if come == 0 {
                return Err(HandoverError::Lost);
            }
            // Those of one message, and of the one behind it.
            if fds.len() > 2 * BATCH {
                return Err(HandoverError::Malformed("there are too many descriptors"));
            }
        }
    }

    /// Whether the other process has closed the connection by now.
    pub(super) fn has_hung_up(&self) -> bool {
        match self.peek() {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// A connection that ended is one error, however the kernel names it.
fn lost(error: io::Error) -> HandoverError {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected => HandoverError::Lost,
        _ => HandoverError::Io(error),
    }
}

/// Says on a connection that this process gives nothing any more.
pub(super) fn say_goodbye(connection: &OwnedFd) {
    drop(send_some(connection, &Message::Goodbye.encode(), &[]));
}

fn send_some(stream: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    // A process that has ended is an error, not a signal.
    #[cfg(not(any(target_os = "macos", target_os = "ios")))]
    const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const FLAGS: SendFlags = SendFlags::DONTWAIT;
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(
        stream,
        &[IoSlice::new(bytes)],
        &mut control,
        FLAGS,
    )?)
}

fn receive_some(
    stream: &UnixStream,
    bytes: &mut Vec<u8>,
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const FLAGS: RecvFlags = RecvFlags::empty();
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut part = [0; 4096];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut part)],
        &mut control,
        FLAGS,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // Too many for us, or for what this process may open.
        return Err(io::Error::other("not all descriptors could be received"));
    }
    bytes.extend(&part[..received.bytes]);
    Ok(received.bytes)
}
