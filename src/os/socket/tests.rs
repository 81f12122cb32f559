use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::poll::{PollFd, PollFlags, poll};

use super::*;

fn packet(received: nix::Result<Received>) -> Packet {
    match received.unwrap() {
        Received::Packet(packet) => packet,
        other => panic!("expected a packet, got {other:?}"),
    }
}

/// Waits until the peer is gone: a process that another test is just starting may still hold a copy of its end.
fn hung_up(socket: &OwnedFd) {
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::empty())], 10_000_u16).unwrap();
}

#[test]
fn descriptors_and_credentials_arrive_with_their_packet() {
    let (ours, theirs) = pair().unwrap();
    pass_credentials(ours.as_fd()).unwrap();
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(b"x").unwrap();
    send(theirs.as_fd(), b"first", &[read.as_fd(), write.as_fd()]).unwrap();
    send(theirs.as_fd(), b"second", &[]).unwrap();

    let mut buffer = [0; 16];
    let first = packet(receive(ours.as_fd(), &mut buffer));
    assert_eq!(&buffer[..first.len], b"first");
    assert_eq!(first.sender, Some(Peer { pid: Pid::this(), uid: nix::unistd::getuid() }));
    let fds: Vec<OwnedFd> = first.fds.into_iter().collect();
    assert_eq!(fds.len(), 2);
    let mut copy = File::from(fds.into_iter().next().unwrap());
    let mut byte = [0];
    copy.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");

    let second = packet(receive(ours.as_fd(), &mut buffer));
    assert_eq!(&buffer[..second.len], b"second");
    assert_eq!(second.fds.into_iter().count(), 0);
    assert!(matches!(receive(ours.as_fd(), &mut buffer), Ok(Received::Nothing)));
}

#[test]
fn an_empty_packet_is_not_the_end() {
    let (ours, theirs) = pair().unwrap();
    pass_credentials(ours.as_fd()).unwrap();
    send(theirs.as_fd(), b"", &[]).unwrap();
    drop(theirs);
    hung_up(&ours);
    let mut buffer = [0; 8];
    assert_eq!(packet(receive(ours.as_fd(), &mut buffer)).len, 0);
    assert!(matches!(receive(ours.as_fd(), &mut buffer), Ok(Received::Closed)));
    assert!(matches!(receive(ours.as_fd(), &mut buffer), Ok(Received::Closed)));
}

/// A peer that dies with unread packets in its queue makes the kernel report ECONNRESET before what it sent.
#[test]
fn what_a_dead_peer_sent_is_read_before_its_end() {
    let (ours, theirs) = pair().unwrap();
    send(theirs.as_fd(), b"last words", &[]).unwrap();
    send(ours.as_fd(), b"never read", &[]).unwrap();
    drop(theirs);
    hung_up(&ours);
    let mut buffer = [0; 16];
    let last = packet(receive(ours.as_fd(), &mut buffer));
    assert_eq!(&buffer[..last.len], b"last words");
    assert!(matches!(receive(ours.as_fd(), &mut buffer), Ok(Received::Closed)));
    assert_eq!(send(ours.as_fd(), b"x", &[]), Err(Errno::EPIPE));
}

#[test]
fn a_full_queue_is_an_answer_and_a_bounded_wait() {
    let (ours, theirs) = pair().unwrap();
    bound_sends(ours.as_fd(), Duration::from_millis(20)).unwrap();
    let full = (0..100_000).find_map(|_| try_send(ours.as_fd(), &[0; 64], &[]).err());
    assert_eq!(full, Some(Errno::EAGAIN));
    assert_eq!(send(ours.as_fd(), &[0; 64], &[]), Err(Errno::EAGAIN));
    drop(theirs);
}

#[test]
fn too_much_is_cut_and_said() {
    let (ours, theirs) = pair().unwrap();
    send(theirs.as_fd(), b"0123456789", &[]).unwrap();
    let mut buffer = [0; 4];
    let cut = packet(receive(ours.as_fd(), &mut buffer));
    assert!(cut.truncated);
    assert_eq!(cut.len, 4);
    let many = [ours.as_fd(); MAX_FDS + 1];
    assert_eq!(send(theirs.as_fd(), b"x", &many), Err(Errno::EINVAL));
    send(theirs.as_fd(), b"x", &many[1..]).unwrap();
    assert_eq!(packet(receive(ours.as_fd(), &mut buffer)).fds.into_iter().count(), MAX_FDS);
}

#[test]
fn a_named_socket_has_its_mode_and_its_own_name_and_replaces_a_stale_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for mode in [0o600, 0o660, 0o666] {
        let listener = listen(&path, mode).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        let client = UnixStream::connect(&path).unwrap();
        assert_eq!(peer(client.as_fd()).unwrap().pid, Pid::this());
        let listener = UnixListener::from(listener);
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(path.as_path()), "as ss(8) shows it");
    }
}

#[test]
fn a_socket_takes_the_place_of_nothing_but_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, "precious").unwrap();
    let error = listen(&path, 0o600).unwrap_err().to_string();
    assert!(error.contains("exists and is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(bind_datagram(&link, 0o600).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_datagram_tells_its_sender_even_when_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = bind_datagram(&path, 0o600).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"", &path).unwrap();
    client.send_to(b"READY=1", &path).unwrap();
    let mut buffer = [0; 32];
    let empty = packet(receive(socket.as_fd(), &mut buffer));
    assert_eq!((empty.len, empty.sender.unwrap().pid), (0, Pid::this()));
    let ready = packet(receive(socket.as_fd(), &mut buffer));
    assert_eq!(&buffer[..ready.len], b"READY=1");
}

#[test]
fn paths_that_cannot_be_socket_names_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(120));
    let error = listen(&long, 0o600).unwrap_err().to_string();
    assert!(error.contains("choose one of at most 107"), "{error}");
    let longest = folder.path().join("x".repeat(107 - folder.path().as_os_str().len() - 1));
    let _listener = listen(&longest, 0o600).unwrap();
    UnixStream::connect(&longest).unwrap();
    assert!(listen("/".as_ref(), 0o600).is_err());
    assert!(listen(&folder.path().join("none/a"), 0o600).is_err());
}

#[test]
fn what_took_the_place_of_a_socket_is_not_removed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let first = listen(&path, 0o600).unwrap();
    let second = listen(&path, 0o600).unwrap();
    remove_files([(path.as_path(), first.as_fd())]);
    UnixStream::connect(&path).unwrap();
    remove_files([(path.as_path(), second.as_fd())]);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    remove_files([(path.as_path(), first.as_fd()), (path.as_path(), second.as_fd())]);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
