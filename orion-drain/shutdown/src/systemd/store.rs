//! The [file descriptor store]: systemd keeps the listening sockets while the service is restarted,
//! or after it has crashed.
//!
//! [file descriptor store]: https://systemd.io/FILE_DESCRIPTOR_STORE/

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use listener_versions::{ListenAddress, SharedSocket};

use super::notify::{Message, Notifier};

/// How the names of stored sockets begin.
pub(super) const NAME: &str = "listen-";

/// No message can carry more than 253.
const AT_ONCE: usize = 64;

/// Keeps listening sockets with systemd. The unit needs `FileDescriptorStoreMax=`, as many as there
/// are sockets at least.
///
/// What is stored stays open when the process ends, with all that waits in its queue; systemd
/// passes it to the next process of the service, and closes it when the service is stopped for
/// good.
#[derive(Debug)]
pub struct FdStore {
    notifier: Notifier,
    /// The sockets of each address, by inode.
    stored: BTreeMap<ListenAddress, BTreeSet<u64>>,
}

impl FdStore {
    /// A store in which `stored` is already, from the process before.
    pub fn new(notifier: Notifier, stored: impl IntoIterator<Item = ListenAddress>) -> Self {
        let stored = stored
            .into_iter()
            .map(|address| (address, BTreeSet::new()))
            .collect();
        Self { notifier, stored }
    }

    /// Lets the store hold these sockets, for example those of [`Listeners::copy_sockets`], and no
    /// others.
    ///
    /// [`Listeners::copy_sockets`]: listener_versions::Listeners::copy_sockets
    pub fn keep(&mut self, sockets: impl IntoIterator<Item = SharedSocket>) {
        let mut present = BTreeMap::<_, Vec<_>>::new();
        for socket in sockets {
            present
                .entry(socket.address)
                .or_default()
                .push(socket.socket);
        }
        let gone: Vec<_> = self
            .stored
            .keys()
            .filter(|address| !present.contains_key(*address))
            .cloned()
            .collect();
        for address in gone {
            self.stored.remove(&address);
            self.notifier.send(Message {
                text: format!("FDSTOREREMOVE=1\nFDNAME={}", name(&address)),
                sockets: vec![],
            });
        }
        for (address, sockets) in present {
            let (inodes, sockets): (BTreeSet<_>, Vec<_>) =
                sockets.into_iter().filter_map(numbered).unzip();
            if self.stored.get(&address) == Some(&inodes) {
                continue;
            }
            self.stored.insert(address.clone(), inodes);
            // A socket that is there already is not stored twice, and one that has been closed
            // leaves by itself.
            let mut sockets = sockets.into_iter().peekable();
            while sockets.peek().is_some() {
                self.notifier.send(Message {
                    text: format!("FDSTORE=1\nFDNAME={}", name(&address)),
                    sockets: sockets.by_ref().take(AT_ONCE).collect(),
                });
            }
        }
    }
}

/// A socket, and which one it is: a listener that was removed and comes back has another one.
fn numbered(socket: OwnedFd) -> Option<(u64, OwnedFd)> {
    let socket = File::from(socket);
    let inode = socket.metadata().ok()?.ino();
    Some((inode, socket.into()))
}

/// At most 255 characters of ASCII, without a colon.
fn name(address: &ListenAddress) -> String {
    let plain = |c: char| match c {
        ':' => '=',
        c if c.is_ascii_graphic() => c,
        _ => '_',
    };
    let address = address.to_string();
    NAME.chars()
        .chain(address.chars().map(plain))
        .take(255)
        .collect()
}

#[cfg(test)]
mod tests {
    use conn_tracker::ConnTracker;
    use drain_tree::{DrainManager, DrainSettings};
    use listener_versions::{ListenerConfig, Listeners, ListenersOptions, Update};

    use super::*;

    #[derive(PartialEq)]
    struct Config(ListenAddress);

    impl ListenerConfig for Config {
        type Chain = ();

        fn name(&self) -> &str {
            "a"
        }

        fn address(&self) -> &ListenAddress {
            &self.0
        }

        fn same_content(&self, other: &Self) -> bool {
            self == other
        }
    }

    #[tokio::test]
    async fn a_socket_is_stored_once_and_the_next_one_of_the_same_address_again() {
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = ListenAddress::from(free.expect("a port"));
        let root = DrainManager::root(DrainSettings::default());
        let (listeners, _driver) =
            Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
        let update = |configs| listeners.apply(Update::lds("v", configs));
        let (notifier, messages) = Notifier::to_a_channel();
        let mut store = FdStore::new(notifier, []);
        let mut told = || {
            store.keep(listeners.copy_sockets().expect("descriptors"));
            messages.try_iter().count()
        };
        assert!(update(vec![Config(address.clone())]).await.is_success());
        assert_eq!((told(), told()), (1, 0));
        // Removed and back before the store is read.
        assert!(update(vec![]).await.is_success());
        assert!(update(vec![Config(address)]).await.is_success());
        assert_eq!((told(), told()), (1, 0));
    }

    #[test]
    fn names_are_what_systemd_takes() {
        let of = |address: &str| name(&address.parse().expect("an address"));
        assert_eq!(of("127.0.0.1:80"), "listen-127.0.0.1=80");
        assert_eq!(of("[::1]:80"), "listen-[==1]=80");
        let long = ListenAddress::Unix(format!("/run/é {}", "x".repeat(300)).into());
        assert_eq!(name(&long).len(), 255);
    }
}
