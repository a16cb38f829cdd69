//! The bounded queue between logging tasks and the thread that writes to stderr: a reader that stops blocks no request.
//!
//! A line is formatted where it is logged and copied into one buffer under a lock. A thread swaps the buffer for an empty one and
//! writes it with one `write(2)`, at most a hundred times a second. What does not fit is dropped and counted. tracing-appender is not
//! used: it bounds the number of lines and not their bytes, allocates for each, and wakes its thread for each while it is idle. While
//! Menshen serves, nothing else may write to stderr, panics included.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use tracing_subscriber::fmt::MakeWriter;

/// The most bytes in the queue; as many again may be being written.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// The capacity that an idle queue keeps.
const IDLE_CAPACITY: usize = 256 * 1024;
/// The least time between two writes, so that many lines share one.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(10);
/// How long a stop waits for queued lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines of this process that were lost.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were lost since the start: nobody read them in time, or they could not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Lines that wait to be written.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the writer.
    more: Condvar,
    /// Wakes the task that waits for the end.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// Lines dropped since `text` was last taken.
    dropped: u64,
    /// Whether the writer sleeps and must be woken.
    idle: bool,
    stopping: bool,
    stopped: bool,
}

impl Queue {
    /// Starts the thread that writes to stderr.
    pub(super) fn start() -> io::Result<(Arc<Self>, Stderr)> {
        // The standard library's handle has a lock, which the writer would hold while nobody reads.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::start_to(stderr)
    }

    fn start_to(out: impl Write + Send + 'static) -> io::Result<(Arc<Self>, Stderr)> {
        let queue = Arc::new(Self {
            waiting: Mutex::default(),
            more: Condvar::new(),
            done: Condvar::new(),
        });
        let writer = Writer {
            queue: Arc::clone(&queue),
            out,
            dropped: 0,
            works: true,
            is_cut: false,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok((Arc::clone(&queue), Stderr(queue)))
    }

    /// Makes a queue that nobody reads.
    #[cfg(test)]
    pub(super) fn unread() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            more: Condvar::new(),
            done: Condvar::new(),
        })
    }

    /// Returns everything that waits.
    #[cfg(test)]
    pub(super) fn queued(&self) -> String {
        String::from_utf8(self.lock().text.clone()).unwrap()
    }

    /// Queues a whole line, or counts it as dropped. It never waits for the writer.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.text.len() + line.len() > MAX_QUEUED_BYTES {
            waiting.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.text.extend_from_slice(line);
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.more.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the lines from the formatter.
pub(super) struct Lines(pub(super) Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> &'a Queue {
        &self.0
    }
}

impl Write for &Queue {
    /// Takes a whole line, which the formatter writes in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue before stderr; dropping it writes the queued lines, for a second at most.
#[must_use]
pub struct Stderr(Arc<Queue>);

impl Stderr {
    /// Queues a line as it is.
    pub fn print(&self, line: &dyn Display) {
        self.0.push(format!("{line}\n").as_bytes());
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        let queue = &self.0;
        let mut waiting = queue.lock();
        waiting.stopping = true;
        queue.more.notify_one();
        let stopped = queue
            .done
            .wait_timeout_while(waiting, FLUSH_TIMEOUT, |waiting| !waiting.stopped);
        drop(stopped.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The thread that writes.
struct Writer<W> {
    queue: Arc<Queue>,
    out: W,
    /// Lines that were lost and not reported yet.
    dropped: u64,
    /// Whether the last write succeeded.
    works: bool,
    /// Whether what was written ends amid a line, since a disk was full then.
    is_cut: bool,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut text = Vec::new();
        let mut last = None;
        while self.next(&mut text, last) {
            // The report is queued before later lines, where the dropped ones would be.
            self.report();
            last = Some(Instant::now());
            let unwritten = self.write(&text);
            self.works = unwritten.is_empty();
            if self.works {
                self.report();
            } else {
                let lines = memchr_iter(b'\n', unwritten).count() as u64;
                self.dropped += lines;
                DROPPED.fetch_add(lines, Ordering::Relaxed);
            }
            text.clear();
            text.shrink_to(IDLE_CAPACITY);
        }
        self.queue.lock().stopped = true;
        self.queue.done.notify_all();
    }

    /// Waits for lines and swaps them with the empty `text`; returns whether there are any, which is so until the end.
    fn next(&mut self, text: &mut Vec<u8>, last: Option<Instant>) -> bool {
        let queue = &self.queue;
        let mut waiting = queue.lock();
        loop {
            let due = last.map_or(Duration::ZERO, |last| {
                MIN_WRITE_INTERVAL.saturating_sub(last.elapsed())
            });
            if waiting.stopping && waiting.text.is_empty() {
                return false;
            } else if waiting.text.is_empty() {
                waiting.idle = true;
                waiting = queue
                    .more
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                waiting.idle = false;
            } else if !waiting.stopping && !due.is_zero() {
                let waited = queue.more.wait_timeout(waiting, due);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                std::mem::swap(&mut waiting.text, text);
                self.dropped += std::mem::take(&mut waiting.dropped);
                return true;
            }
        }
    }

    fn report(&mut self) {
        // If writing fails, the report would fail as well.
        if self.works && self.dropped > 0 {
            let lines = std::mem::take(&mut self.dropped);
            tracing::warn!(lines, "log lines were dropped: nobody read them in time");
        }
    }

    /// Writes lines, and returns those that could not be written, the first of which may be cut.
    fn write<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        // Otherwise the first line would be joined to what is left of another.
        if self.is_cut && self.write_all(b"\n").is_err() {
            return text;
        }
        self.is_cut = false;
        let Err(unwritten) = self.write_all(text) else {
            return &[];
        };
        let (written, _) = text.split_at(text.len() - unwritten.len());
        self.is_cut = written.last().is_some_and(|last| *last != b'\n');
        unwritten
    }

    /// Writes a text, or returns what of it could not be written.
    fn write_all<'t>(&mut self, mut text: &'t [u8]) -> Result<(), &'t [u8]> {
        while !text.is_empty() {
            match self.out.write(text) {
                Ok(0) => return Err(text),
                Ok(written) => text = text.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the pipe has made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(MIN_WRITE_INTERVAL)
                }
                Err(_) => return Err(text),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes one write each time the test lets it, and says what was written.
    struct Reader {
        turns: Receiver<io::Result<()>>,
        written: Sender<String>,
    }

    impl Write for Reader {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.turns.recv().unwrap_or(Ok(()))?;
            let text_of = String::from_utf8(text.to_vec()).unwrap();
            self.written.send(text_of).unwrap();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (Sender<io::Result<()>>, Receiver<String>, Reader) {
        let (let_write, turns) = channel();
        let (written, texts) = channel();
        (let_write, texts, Reader { turns, written })
    }

    #[test]
    fn lines_that_wait_are_written_in_one_piece() {
        let (let_write, texts, reader) = reader();
        let (queue, stderr) = Queue::start_to(reader).unwrap();
        queue.push(b"first\n");
        while !queue.lock().text.is_empty() {
            thread::yield_now();
        }
        for line in 0..100 {
            stderr.print(&line);
        }
        let_write.send(Ok(())).unwrap();
        let_write.send(Ok(())).unwrap();
        assert_eq!(texts.recv().unwrap(), "first\n");
        let rest: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(texts.recv().unwrap(), rest);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_a_stop_waits_no_longer_than_its_limit() {
        let (_let_write, texts, reader) = reader();
        let (queue, stderr) = Queue::start_to(reader).unwrap();
        // The writer has taken this and waits, so that it takes nothing of what follows.
        queue.push(b"first\n");
        while !queue.lock().text.is_empty() {
            thread::yield_now();
        }
        let line = [b'x'; 1024];
        for _ in 0..MAX_QUEUED_BYTES / line.len() * 3 {
            queue.push(&line);
        }
        assert!(queue.lock().text.len() <= MAX_QUEUED_BYTES);
        assert!(queue.lock().dropped > 0);
        let since = Instant::now();
        drop(stderr);
        assert!(since.elapsed() < FLUSH_TIMEOUT * 5);
        assert!(texts.try_recv().is_err());
    }

    /// Holds so many bytes, and is full from then on until it is emptied.
    struct Disk {
        room: Arc<Mutex<usize>>,
        written: Sender<String>,
    }

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            if *room == 0 {
                self.written.send("full".to_owned()).unwrap();
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = text.len().min(*room);
            *room -= taken;
            let text = String::from_utf8(text[..taken].to_vec()).unwrap();
            self.written.send(text).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_is_not_joined_by_a_later_one() {
        let (written, texts) = channel();
        let room = Arc::new(Mutex::new(3));
        let disk = Disk {
            room: Arc::clone(&room),
            written,
        };
        let (queue, _stderr) = Queue::start_to(disk).unwrap();
        let mut file = String::new();
        for (line, ends) in [("first\n", "full"), ("lost\n", "full"), ("whole\n", "")] {
            if ends.is_empty() {
                *room.lock().unwrap() = usize::MAX;
            }
            queue.push(line.as_bytes());
            loop {
                let text = texts.recv().unwrap();
                if text == "full" {
                    break;
                }
                file.push_str(&text);
                if file.ends_with("whole\n") {
                    break;
                }
            }
        }
        assert_eq!(file, "fir\nwhole\n");
    }

    #[test]
    fn a_write_that_fails_costs_its_own_lines_only() {
        let (let_write, texts, reader) = reader();
        for turn in [
            Err(io::ErrorKind::StorageFull.into()),
            Err(io::ErrorKind::WouldBlock.into()),
            Err(io::ErrorKind::Interrupted.into()),
            Ok(()),
        ] {
            let_write.send(turn).unwrap();
        }
        let (queue, _stderr) = Queue::start_to(reader).unwrap();
        queue.push(b"lost\n");
        while !queue.lock().text.is_empty() {
            thread::yield_now();
        }
        queue.push(b"written\n");
        assert_eq!(texts.recv().unwrap(), "written\n");
    }
}
