//! The laws of the ring, on the kernel, for both runtimes where both have a say.

use super::*;
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::task::Poll;

const RUNTIMES: [Runtime; 2] = [Runtime::Own, Runtime::TokioUring];

/// A connection of this process with itself: the ring's end, and the end of a blocking peer.
async fn pair() -> (Stream, TcpStream) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let listener = Listener::new(socket);
    let peer = TcpStream::connect(address).expect("a connection");
    (listener.accept().await.expect("the same connection").0, peer)
}

#[test]
fn no_wake_up_from_another_thread_is_lost() {
    for runtime in RUNTIMES {
        run(runtime, async {
            let mut began = false;
            // Woken between the last look at the queue and the wait in the kernel.
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut began, true) {
                    return Poll::Ready(());
                }
                let waker = context.waker().clone();
                std::thread::spawn(move || waker.wake()).join().expect("no panic");
                Poll::Pending
            })
            .await;
        })
        .expect("a ring");
    }
}

#[test]
fn two_threads_that_wake_each_other_never_wait_for_ever() {
    const TURNS: usize = 20_000;
    for runtime in RUNTIMES {
        let [ping, pong] = [Wake::new(), Wake::new()];
        let (their_ping, their_pong) = (ping.clone(), pong.clone());
        let other = std::thread::spawn(move || {
            run(runtime, async move {
                for _ in 0..TURNS {
                    their_ping.woken().await;
                    their_pong.wake();
                }
            })
        });
        run(runtime, async move {
            for _ in 0..TURNS {
                ping.wake();
                pong.woken().await;
            }
        })
        .expect("a ring");
        other.join().expect("no panic").expect("a ring");
    }
}

#[test]
fn what_is_written_is_what_the_peer_reads_and_back() {
    for runtime in RUNTIMES {
        run(runtime, async {
            let (stream, mut peer) = pair().await;
            let sent: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
            let expected = sent.clone();
            let echo = std::thread::spawn(move || {
                let mut bytes = vec![0; 3_000_000];
                peer.read_exact(&mut bytes).expect("all of it");
                peer.write_all(&bytes).expect("all of it");
            });
            let (written, _) = stream.write_all(sent).await;
            written.expect("a peer that reads");
            let mut back = Vec::new();
            let mut buffer = Vec::with_capacity(64 << 10);
            while back.len() < expected.len() {
                let (read, filled) = stream.read(buffer).await;
                assert_eq!(read.expect("bytes"), filled.len());
                assert!(!filled.is_empty(), "the peer is not done");
                back.extend_from_slice(&filled);
                buffer = filled;
            }
            assert!(back == expected);
            echo.join().expect("no panic");
        })
        .expect("a ring");
    }
}

#[test]
fn the_kernel_keeps_the_buffer_of_a_read_that_nobody_waits_for() {
    run(Runtime::Own, async {
        let (stream, mut peer) = pair().await;
        let reading = stream.clone();
        let mut abandoned = Box::pin(async move { reading.read(Vec::with_capacity(4096)).await });
        // The first poll gives the buffer to the kernel.
        let pending =
            std::future::poll_fn(|context| Poll::Ready(abandoned.as_mut().poll(context).is_pending()));
        assert!(pending.await);
        sleep(Duration::from_millis(1)).await;
        drop(abandoned);
        // What the allocator would give out if the buffer were free.
        let mine: Vec<Vec<u8>> = (0..64).map(|_| vec![0xa5; 4096]).collect();
        peer.write_all(&[0xff; 4096]).expect("a reader");
        // The first read has a turn of its own to take them: a second one would be faster.
        sleep(Duration::from_millis(1)).await;
        drop(peer);
        let (read, _) = stream.read(Vec::with_capacity(16)).await;
        assert_eq!(read.expect("an orderly end"), 0, "the abandoned read took all");
        assert!(mine.iter().flatten().all(|byte| *byte == 0xa5));
    })
    .expect("a ring");
}

#[test]
fn a_runtime_ends_though_reads_and_accepts_are_under_way() {
    for runtime in RUNTIMES {
        run(runtime, async {
            let (stream, peer) = pair().await;
            let listener = Listener::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
            spawn(async move {
                let _ = stream.read(Vec::with_capacity(16)).await;
                drop(peer);
            });
            spawn(async move {
                let _ = listener.accept().await;
            });
            sleep(Duration::from_millis(1)).await;
        })
        .expect("a ring");
    }
}

#[test]
fn more_operations_than_the_ring_has_entries_all_complete() {
    const WRITES: u64 = 3 * RING_ENTRIES as u64;
    for runtime in RUNTIMES {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("written");
        let inner = path.clone();
        run(runtime, async move {
            let file = File::new(std::fs::File::create(inner).expect("a file"));
            let (left, all) = (Rc::new(Cell::new(WRITES)), Wake::new());
            for i in 0..WRITES {
                let (file, left, all) = (file.clone(), Rc::clone(&left), all.clone());
                spawn(async move {
                    let bytes = [i.to_le_bytes(), [0xee; 8]].concat();
                    // The ring is full between any two of them, linked ones too.
                    let (written, _) = match i % 3 {
                        0 => file.write_and_sync_at(bytes, 0..8, i * 8).await,
                        _ => file.write_at(bytes, 0..8, i * 8).await,
                    };
                    written.expect("room");
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        all.wake();
                    }
                });
            }
            all.woken().await;
        })
        .expect("a ring");
        let written = std::fs::read(&path).expect("the file");
        let expected: Vec<u8> = (0..WRITES).flat_map(u64::to_le_bytes).collect();
        assert!(written == expected);
    }
}

#[test]
fn urgent_tasks_go_first_and_keep_no_other_from_its_turn() {
    run(Runtime::Own, async {
        let (order, done) = (Rc::new(RefCell::new(Vec::new())), Wake::new());
        let end = Rc::new(Cell::new(false));
        for number in 0..3 {
            let order = Rc::clone(&order);
            spawn(async move { order.borrow_mut().push(number) });
        }
        let (ended, told, urgent) = (Rc::clone(&end), done.clone(), Rc::clone(&order));
        spawn_urgent(async move {
            urgent.borrow_mut().push(9);
            // It can always go on.
            while !ended.get() {
                let mut polled = false;
                std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            told.wake();
        });
        spawn(async move { end.set(true) });
        done.woken().await;
        assert_eq!(*order.borrow(), [9, 0, 1, 2]);
    })
    .expect("a ring");
}

#[test]
fn timers_end_in_the_order_of_their_moments_and_a_dropped_one_wakes_nobody() {
    run(Runtime::Own, async {
        let (order, all) = (Rc::new(RefCell::new(Vec::new())), Wake::new());
        for ms in [90, 30, 60] {
            let (order, all) = (Rc::clone(&order), all.clone());
            spawn(async move {
                sleep(Duration::from_millis(ms)).await;
                order.borrow_mut().push(ms);
                if order.borrow().len() == 3 {
                    all.wake();
                }
            });
        }
        let mut dropped = Box::pin(sleep(Duration::from_millis(1)));
        std::future::poll_fn(|context| {
            assert!(dropped.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(dropped);
        all.woken().await;
        assert_eq!(*order.borrow(), [30, 60, 90]);
    })
    .expect("a ring");
}

#[test]
fn a_client_that_was_reset_before_it_was_accepted_keeps_nobody_waiting() {
    run(Runtime::Own, async {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let gone = TcpStream::connect(address).expect("a connection");
        // Its end is a reset then.
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(gone);
        let here = TcpStream::connect(address).expect("a connection");
        let (_, peer) = Listener::new(socket).accept().await.expect("the one that is there");
        assert_eq!(peer, here.local_addr().expect("an address"));
    })
    .expect("a ring");
}

#[test]
fn who_comes_together_is_accepted_and_a_listener_that_is_dropped_accepts_nobody() {
    const HERD: usize = 100;
    for runtime in RUNTIMES {
        run(runtime, async {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = socket.local_addr().expect("an address");
            let mut peers: Vec<TcpStream> =
                (0..HERD).map(|_| TcpStream::connect(address).expect("a connection")).collect();
            let listener = Listener::new(socket);
            let mut came = Vec::new();
            for _ in 0..HERD {
                came.push(listener.accept().await.expect("one more").1);
            }
            let mut expected: Vec<_> = peers.iter().map(|peer| peer.local_addr().expect("its own")).collect();
            came.sort_unstable();
            expected.sort_unstable();
            assert_eq!(came, expected);
            // Accepted, perhaps, and taken by nobody.
            peers.push(TcpStream::connect(address).expect("a connection"));
            if runtime == Runtime::Own {
                sleep(Duration::from_millis(1)).await;
            }
            drop(listener);
            if runtime == Runtime::Own {
                while TcpStream::connect(address).is_ok() {
                    sleep(Duration::from_millis(1)).await;
                }
                let last = peers.last_mut().expect("the last one");
                assert!(!matches!(last.read(&mut [0]), Ok(1..)), "it is closed");
            }
        })
        .expect("a ring");
    }
}

/// Reads of a connection until its peer is done.
async fn all_of(stream: Stream) -> Vec<u8> {
    let (mut incoming, mut all) = (Incoming::new(stream), Vec::new());
    let mut take = async || {
        let taken = incoming.next(|bytes| {
            all.extend_from_slice(bytes);
            bytes.len()
        });
        taken.await.expect("bytes or an end")
    };
    while take().await > 0 {}
    all
}

#[test]
fn what_comes_over_many_connections_at_once_is_seen_whole() {
    const HERD: u8 = 200;
    const BYTES: usize = 100_000;
    for runtime in RUNTIMES {
        run(runtime, async {
            let (left, all) = (Rc::new(Cell::new(HERD)), Wake::new());
            for number in 0..HERD {
                let (stream, mut peer) = pair().await;
                // What the sockets take of it comes before anybody reads.
                std::thread::spawn(move || peer.write_all(&[number; BYTES]).expect("a reader"));
                let (left, all) = (Rc::clone(&left), all.clone());
                spawn(async move {
                    assert!(all_of(stream).await == [number; BYTES]);
                    left.set(left.get() - 1);
                    all.wake();
                });
            }
            while left.get() > 0 {
                all.woken().await;
            }
        })
        .expect("a ring");
    }
}

#[test]
fn a_shared_buffer_comes_back_from_whom_it_was_lent_to_and_from_whom_nobody_waits_for() {
    const AT_ONCE: usize = supply::BUFFERS_MAX as usize;
    run(Runtime::Own, async {
        let shared = async |stream: &Stream| match &stream.0 {
            Either::Own(driver, socket) => driver.receive_shared(socket).await,
            Either::TokioUring(_) => unreachable!("it is our own"),
        };
        for _ in 0..AT_ONCE + 1 {
            let (stream, mut peer) = pair().await;
            let mut abandoned = Box::pin(shared(&stream));
            let begun = std::future::poll_fn(|context| Poll::Ready(abandoned.as_mut().poll(context)));
            assert!(begun.await.is_pending());
            peer.write_all(b"1").expect("a reader");
            sleep(Duration::from_micros(1)).await;
        }
        let (mut lent, (stream, mut peer)) = (Vec::new(), pair().await);
        for number in 0..AT_ONCE {
            peer.write_all(&[number as u8; 3]).expect("a reader");
            lent.push(shared(&stream).await.expect("a buffer").expect("bytes"));
        }
        peer.write_all(b"own memory").expect("a reader");
        assert!(shared(&stream).await.is_none());
        drop(peer);
        assert_eq!(all_of(stream).await, b"own memory");
        assert!(lent.iter().enumerate().all(|(number, bytes)| bytes[..] == [number as u8; 3]));
    })
    .expect("a ring");
}
