//! Work of the test's own inside a host, as one of its users: a thread that has joined the host's mounts and given up
//! what root may. It is as fast as a program there, and tells its counts as it goes.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    process::{Gid, Uid},
    thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::host::Host;

/// What the test and the thread share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The thread shall end.
    pub stop: AtomicBool,
    /// What the thread counts.
    pub count: AtomicU64,
    /// What the test tells it, or it the test.
    pub mode: AtomicU64,
}

/// A thread inside a host.
#[derive(Debug)]
pub struct Inside {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Inside {
    /// Starts `work` in the host as this user, in all its groups: polkit goes by those of the process where the bus tells
    /// them.
    pub fn start(host: &Host, user: &str, work: impl FnOnce(&Shared) + Send + 'static) -> Self {
        let id = |of: &str| host.ok(&["id", of, user]).trim().parse().expect("a number");
        let (uid, gid) = (Uid::from_raw(id("-u")), Gid::from_raw(id("-g")));
        let groups = host.ok(&["id", "-G", user]);
        let groups: Vec<Gid> =
            groups.split_whitespace().map(|id| Gid::from_raw(id.parse().expect("a number"))).collect();
        let path = format!("/proc/{}/ns/mnt", host.leader());
        let mounts = File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            // Its root and working directory are its own from now on, and only so may it move.
            unshare(CloneFlags::CLONE_FS).expect("a thread may");
            move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount)).expect("root may join it");
            // Of this thread: what it attacks shall have its turn too.
            let _ = rustix::process::setpriority_process(None, 10);
            set_thread_groups(&groups).expect("root may");
            set_thread_res_gid(gid, gid, gid).expect("root may");
            set_thread_res_uid(uid, uid, uid).expect("root may");
            work(&seen);
        });
        Self { shared, thread: Some(thread) }
    }

    /// What it has counted.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Whether it has ended already, by itself or by a panic.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// What it was told, or says.
    pub fn mode(&self) -> u64 {
        self.shared.mode.load(Ordering::Relaxed)
    }

    /// Tells it a number.
    pub fn set_mode(&self, mode: u64) {
        self.shared.mode.store(mode, Ordering::Relaxed);
    }

    /// Has it end; a panic of its is the test's.
    pub fn end(mut self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the thread inside the host panicked");
        self.count()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the long form was asked for: `DEPLOYD_ATTACK=long`, which `make check-safety` sets.
pub fn long() -> bool {
    std::env::var("DEPLOYD_ATTACK").is_ok_and(|text| text == "long")
}
