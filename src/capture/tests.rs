//! A log as it is written and read: pipes, files, rotation and times together.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

use super::*;
use crate::os;

const ROOMY: Limits = Limits { max_size: 1 << 30, max_files: 5 };

/// A log and a pipe into it.
struct Bench {
    folder: tempfile::TempDir,
    log: Log,
    read: OwnedFd,
    write: fs::File,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(&folder.path().join("web.log"), limits, Rc::new(Notify::new())).unwrap();
        let (read, write) = os::pipe::output().unwrap();
        Bench { folder, log, read, write: write.into() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("web.log")
    }

    fn put(&mut self, text: impl AsRef<[u8]>) {
        // What fits into a pipe, so that the writer never waits for the reader in the same thread.
        for piece in text.as_ref().chunks(60_000) {
            self.write.write_all(piece).unwrap();
            self.take();
        }
    }

    fn take(&self) {
        while self.log.take(self.read.as_fd()).unwrap() == Moved::More {}
    }

    /// The log goes on as if by the next supervisor process.
    fn reopen(&mut self, limits: Limits) {
        self.log = Log::open(&self.path(), limits, Rc::new(Notify::new())).unwrap();
    }
}

/// All files of a log, oldest first.
fn whole(path: &Path) -> Vec<u8> {
    let files: Vec<Vec<u8>> = (0..100)
        .map_while(|number| fs::read(numbered(path, number)).ok().or((number == 0).then(Vec::new)))
        .collect();
    files.into_iter().rev().flatten().collect()
}

fn now() -> u64 {
    Start::micros(std::time::SystemTime::now())
}

/// Waits until what comes next has a time of its own; returns the time it was by then at least.
fn next_time() -> u64 {
    let until = now() + 1_500;
    while now() < until {
        std::thread::yield_now();
    }
    until
}

fn source(path: &Path) -> Vec<Source> {
    vec![Source { label: "web".into(), path: path.to_owned() }]
}

fn lines(path: &Path, start: Start) -> Vec<String> {
    let read = Reader::tail(&source(path), start).unwrap();
    read.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()).collect()
}

fn last(count: usize) -> Start {
    Start { lines: Some(count), ..Start::default() }
}

#[test]
fn what_was_written_is_in_the_file_byte_for_byte() {
    let mut bench = Bench::new(ROOMY);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7 + n / 255) as u8).collect();
    bench.put(&bytes);
    assert!(fs::read(bench.path()).unwrap() == bytes);
}

#[test]
fn rotated_files_hold_whole_lines_and_together_everything() {
    let limits = Limits { max_size: 10_000, max_files: 90 };
    let mut bench = Bench::new(limits);
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    bench.put(&text);
    assert_eq!(String::from_utf8(whole(&bench.path())).unwrap(), text);
    for number in 1..20 {
        let file = fs::read(numbered(&bench.path(), number)).unwrap();
        assert_eq!(file.last(), Some(&b'\n'), "web.log.{number} ends within a line");
        assert!((10_000..10_100).contains(&file.len()), "web.log.{number}: {} bytes", file.len());
    }
}

#[test]
fn only_so_many_files_are_kept() {
    let mut bench = Bench::new(Limits { max_size: 1_000, max_files: 2 });
    let text: String = (0..1_000).map(|n| format!("line {n}\n")).collect();
    bench.put(&text);
    let names: Vec<String> = fs::read_dir(bench.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".idx"))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(text.as_bytes().ends_with(&whole(&bench.path())));
}

#[test]
fn with_no_file_kept_the_log_begins_anew() {
    let mut bench = Bench::new(Limits { max_size: 1_000, max_files: 0 });
    bench.put("x".repeat(999) + "\n");
    bench.put("new\n");
    assert_eq!(whole(&bench.path()), b"new\n");
    assert!(!numbered(&bench.path(), 1).exists());
}

#[test]
fn a_line_without_an_end_is_cut_in_the_end() {
    let mut bench = Bench::new(Limits { max_size: 4_096, max_files: 9 });
    let endless = vec![b'x'; 3 << 20];
    bench.put(&endless);
    assert!(whole(&bench.path()) == endless);
    assert!(fs::metadata(bench.path()).unwrap().len() < 2 << 20);
    assert!(numbered(&bench.path(), 1).exists());
}

#[test]
fn a_removed_moved_or_emptied_file_is_begun_anew() {
    let mut bench = Bench::new(ROOMY);
    let path = bench.path();
    bench.put("one\n");
    fs::remove_file(&path).unwrap();
    bench.put("two\n");
    assert_eq!(fs::read(&path).unwrap(), b"two\n");
    fs::rename(&path, path.with_extension("moved")).unwrap();
    bench.put("three\n");
    assert_eq!(fs::read(&path).unwrap(), b"three\n");
    assert_eq!(fs::read(path.with_extension("moved")).unwrap(), b"two\n");
    fs::File::create(&path).unwrap();
    bench.put("four\n");
    assert_eq!(fs::read(&path).unwrap(), b"four\n", "no hole where the old text was");
    fs::remove_dir_all(bench.folder.path()).unwrap();
    bench.put("five\n");
    assert_eq!(fs::read(&path).unwrap(), b"five\n");
}

#[test]
fn a_link_in_the_place_of_the_log_makes_its_output_wait() {
    let mut bench = Bench::new(ROOMY);
    let path = bench.path();
    fs::write(path.with_extension("victim"), "precious").unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(path.with_extension("victim"), &path).unwrap();
    bench.write.write_all(b"text\n").unwrap();
    assert!(bench.log.take(bench.read.as_fd()).is_err());
    assert!(bench.log.stalled().unwrap().contains("symbolic link"));
    assert_eq!(fs::read(path.with_extension("victim")).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    bench.take();
    assert!(bench.log.stalled().is_none());
    assert_eq!((fs::read(&path).unwrap(), bench.log.stalls()), (b"text\n".to_vec(), 1));
}

#[test]
fn the_last_lines_come_from_as_many_files_as_it_takes() {
    let mut bench = Bench::new(Limits { max_size: 100, max_files: 50 });
    let text: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    bench.put(text.join("\n") + "\n");
    for count in [0, 1, 2, 15, 60, 199, 200, 1_000] {
        let expected = &text[text.len().saturating_sub(count)..];
        assert_eq!(lines(&bench.path(), last(count)), expected, "the last {count}");
    }
    assert_eq!(lines(&bench.path(), Start::default()), text);
}

#[test]
fn lines_have_the_times_of_their_batches_over_rotation_and_a_new_writer() {
    let limits = Limits { max_size: 40, max_files: 9 };
    let mut bench = Bench::new(limits);
    let mut marks = Vec::new();
    for n in 0..12 {
        if n % 5 == 4 {
            bench.reopen(limits);
        }
        let before = next_time();
        bench.put(format!("this is line {n}\n"));
        marks.push((before, now()));
    }
    let read = Reader::tail(&source(&bench.path()), Start::default()).unwrap();
    assert_eq!(read.len(), 12);
    for (line, (before, after)) in read.iter().zip(&marks) {
        assert!((*before..=*after).contains(&line.at), "{line:?} from {before} to {after}");
    }
    for (n, (since, _)) in marks.iter().enumerate() {
        let found = lines(&bench.path(), Start { since: Some(*since), ..Start::default() });
        assert_eq!(found.len(), 12 - n, "since line {n}: {found:?}");
        assert_eq!(found[0], format!("this is line {n}"));
        let earlier = Start { lines: Some(2), until: Some(*since), ..Start::default() };
        let expected: Vec<String> = (n.saturating_sub(2)..n).map(|n| format!("this is line {n}")).collect();
        assert_eq!(lines(&bench.path(), earlier), expected, "until line {n}");
    }
    let both = Start { lines: Some(3), since: Some(marks[11].0), until: None };
    assert_eq!(lines(&bench.path(), both), ["this is line 11"]);
}

#[test]
fn since_begins_with_a_whole_line() {
    let mut bench = Bench::new(ROOMY);
    bench.put("begun ");
    let since = next_time();
    bench.put("before\nafter\n");
    assert_eq!(lines(&bench.path(), Start { since: Some(since), ..Start::default() }), ["after"]);
}

#[test]
fn long_lines_come_in_pieces_that_say_so() {
    let mut bench = Bench::new(ROOMY);
    let exact = "x".repeat(16 * 1024);
    bench.put(format!("{exact}\n{exact}yz\nrest"));
    let read = Reader::tail(&source(&bench.path()), Start::default()).unwrap();
    let shape: Vec<(usize, bool)> = read.iter().map(|line| (line.bytes.len(), line.partial)).collect();
    assert_eq!(shape, [(16_384, false), (16_384, true), (2, false), (4, true)]);
}

#[test]
fn a_file_without_ends_of_lines_is_not_searched_to_its_beginning() {
    let mut bench = Bench::new(ROOMY);
    bench.put(vec![b'x'; 200_000]);
    let read = Reader::tail(&source(&bench.path()), last(2)).unwrap();
    assert!(read.iter().map(|line| line.bytes.len()).sum::<usize>() <= 2 * 16 * 1024 + 1);
}

#[test]
fn several_logs_are_read_in_the_order_of_time() {
    let mut benches = [Bench::new(ROOMY), Bench::new(ROOMY)];
    let mut expected = Vec::new();
    for n in 0..6 {
        let writer = [0, 1, 1, 0, 1, 0][n];
        next_time();
        benches[writer].put(format!("{n}\n"));
        expected.push((writer, n.to_string().into_bytes()));
    }
    let sources: Vec<Source> = benches.iter().flat_map(|bench| source(&bench.path())).collect();
    let read = Reader::tail(&sources, last(10)).unwrap();
    let found: Vec<_> = read.into_iter().map(|line| (line.source, line.bytes)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_reader_follows_over_rotations_removal_and_a_log_that_appears_later() {
    let mut bench = Bench::new(Limits { max_size: 60, max_files: 9 });
    let path = bench.path();
    fs::remove_file(&path).unwrap();
    let mut reader = Reader::open(&source(&path), last(10)).unwrap();
    assert_eq!(reader.next_line().unwrap(), None);
    let mut next = 0;
    for round in 1..50 {
        let text: String = (next..next + round).map(|n| format!("line {n}\n")).collect();
        bench.put(text);
        let mut seen = 0;
        while let Some(line) = reader.next_line().unwrap() {
            assert_eq!(line.bytes, format!("line {next}").into_bytes());
            next += 1;
            seen += 1;
        }
        assert_eq!(seen, round);
        if round == 20 {
            fs::remove_file(&path).unwrap();
        }
    }
}

#[tokio::test]
async fn a_follower_is_woken_by_output() {
    let mut bench = Bench::new(ROOMY);
    let mut reader = Reader::open(&source(&bench.path()), last(0)).unwrap();
    assert_eq!(reader.next_line().unwrap(), None);
    for n in 0..3 {
        bench.put(format!("{n}\n"));
        let line = loop {
            match reader.next_line().unwrap() {
                Some(line) => break line,
                None => reader.changed().await,
            }
        };
        assert_eq!(line.bytes, n.to_string().into_bytes());
        // But for what was told of this line, waiting for more lasts until there is more.
        let mut wake_ups = 0;
        while tokio::time::timeout(std::time::Duration::from_millis(30), reader.changed()).await.is_ok() {
            wake_ups += 1;
        }
        assert!(wake_ups <= 1);
    }
}

#[test]
fn damaged_indexes_cost_times_and_nothing_else() {
    let mut bench = Bench::new(Limits { max_size: 100, max_files: 9 });
    bench.put("one\ntwo\n");
    let index = bench.folder.path().join("web.log.idx");
    for damage in [&b""[..], b"short", &[0xff; 1000], b"provost1"] {
        fs::write(&index, damage).unwrap();
        assert_eq!(lines(&bench.path(), last(9))[..2], ["one", "two"]);
        bench.reopen(ROOMY);
        bench.put("more\n");
    }
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    bench.reopen(ROOMY);
    bench.put("end\n");
    assert_eq!(lines(&bench.path(), last(1)), ["end"]);
}
