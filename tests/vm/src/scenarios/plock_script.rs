//! One script of POSIX locks, played by processes on one node and on several.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::basics::CHANGE;
use super::plock_model::{self, Action, Answer, Model, Step, bytes, cells, everything, script};
use crate::actor::{Actor, Mode};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::wait::until;
use crate::options::Daemon;
use crate::plocks::Plock;

/// Draws the script; any number will do.
const SEED: u64 = 2004;
const STEPS: usize = 300;
const ACTORS: usize = 6;
/// Between two looks at the daemons' tables, in steps.
const LOOK: usize = 30;
/// How long a wish may take to be granted once nothing is in its way.
const GRANT: Duration = Duration::from_secs(15);

/// The same processes do the same steps on tmpfs on one node and on gfs2 on three, and everything comes
/// to the same, which is what POSIX says: locks, refusals, waits, splits, changes of mode, ranges to the
/// end of the file, closes and deaths. All daemons list the same locks meanwhile, and none at the end.
pub(super) fn plock_script(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let local = Play::begin(cluster, "/dev/shm/script", |_| 1)?.all().context("tmpfs")?;
    let shared = Play::begin(cluster, "/mnt/gfs2/script", node_of)?.all().context("gfs2")?;
    ensure!(local == shared, "tmpfs said {local:?}\ngfs2 said {shared:?}");
    Ok(())
}

fn node_of(actor: usize) -> u8 {
    [1, 2, 3].into_iter().cycle().nth(actor).unwrap_or(1)
}

struct Play<'a> {
    cluster: &'a Cluster,
    path: &'static str,
    mark: String,
    begun: usize,
    node_of: fn(usize) -> u8,
    actors: Vec<Actor<'a>>,
    model: Model,
    said: Vec<Answer>,
}

impl<'a> Play<'a> {
    fn begin(cluster: &'a Cluster, path: &'static str, node_of: fn(usize) -> u8) -> Result<Self> {
        let mut play = Self {
            cluster,
            path,
            mark: cluster.new_mark(),
            begun: 0,
            node_of,
            actors: Vec::new(),
            model: Model::default(),
            said: Vec::new(),
        };
        for number in 0..ACTORS {
            let actor = play.new_actor(number)?;
            play.actors.push(actor);
        }
        Ok(play)
    }

    fn new_actor(&mut self, number: usize) -> Result<Actor<'a>> {
        self.begun += 1;
        let name = format!("script.{}.{}", self.mark, self.begun);
        self.cluster.node((self.node_of)(number)).actor(&name)
    }

    /// Plays the whole script; what its steps came to.
    fn all(mut self) -> Result<Vec<Answer>> {
        for (number, step) in script(SEED, ACTORS, STEPS).iter().enumerate() {
            self.step(step).with_context(|| format!("step {number}, {step:?}"))?;
            if number % LOOK == LOOK - 1 {
                self.compare_tables().with_context(|| format!("after step {number}"))?;
            }
        }
        self.compare_tables().context("at the end")?;
        ensure!(self.model == Model::default(), "the script left locks");
        Ok(self.said)
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        if let Some(waiter) = self.model.waiter()
            && let Some((_, answer)) = self.actor(waiter)?.answered()
        {
            bail!("actor {waiter} waits for a lock that others hold, and was told {answer}");
        }
        let before = self.model.clone();
        let (wanted, granted) = self.model.apply(step);
        let said = self.perform(step, wanted, &before)?;
        ensure!(said == wanted, "came to {said:?}, not to {wanted:?}");
        self.said.push(said);
        if let Some(waiter) = granted {
            let (_, answer) = self.actor(waiter)?.answer(GRANT).context("the lock is free")?;
            ensure!(answer == "ok", "actor {waiter} was told {answer} in place of its lock");
        }
        if matches!(step.action, Action::Close | Action::CloseAnother | Action::Die) {
            // Nobody is told when a close has reached the daemon; what the same node asks next comes
            // after it.
            let after = Step { actor: step.actor, action: Action::Test(Mode::Write, everything()) };
            self.step(&after).context("after it")?;
        }
        Ok(())
    }

    fn perform(&mut self, step: &Step, wanted: Answer, model: &Model) -> Result<Answer> {
        let (path, number) = (self.path, step.actor);
        if step.action == Action::Die {
            let new = self.new_actor(number)?;
            let place = self.actors.get_mut(number).context("no such actor")?;
            std::mem::replace(place, new).kill()?;
            return Ok(Answer::Done);
        }
        let actor = self.actor(number)?;
        let answer = match &step.action {
            Action::Lock(mode, cells) => actor.lock(*mode, bytes(cells), path)?,
            Action::Wait(mode, cells) if wanted == Answer::Sleeps => {
                actor.wait(*mode, bytes(cells), path)?
            }
            Action::Wait(mode, cells) => actor.wait_granted(*mode, bytes(cells), path)?,
            Action::Unlock(cells) => actor.unlock(bytes(cells), path)?,
            Action::Test(mode, tested) => {
                let answer = actor.test(*mode, bytes(tested), path)?;
                if let Some(holder) = answer.strip_prefix("held ") {
                    self.check_holder(number, *mode, tested, holder, model)
                        .with_context(|| answer.clone())?;
                    return Ok(Answer::Held);
                }
                answer
            }
            Action::Close => actor.close(path)?,
            Action::CloseAnother => actor.close_another(path)?,
            Action::Die => bail!("done above"),
        };
        match answer.as_str() {
            "ok" => Ok(Answer::Done),
            "EAGAIN" => Ok(Answer::Refused),
            "asleep" => Ok(Answer::Sleeps),
            "free" => Ok(Answer::Free),
            other => bail!("it was told {other}"),
        }
    }

    /// The holder named by `F_GETLK` has just this lock, and it is in the way. A process of another node
    /// has a negative number, which Debian's C daemon does not get right.
    fn check_holder(
        &self,
        tester: usize,
        mode: Mode,
        tested: &plock_model::Cells,
        holder: &str,
        model: &Model,
    ) -> Result<()> {
        let words: Vec<&str> = holder.split(' ').collect();
        let [held, start, length, process] = words.as_slice() else { bail!("{holder:?}") };
        let held = if *held == "w" { Mode::Write } else { Mode::Read };
        let (start, length): (u64, u64) = (start.parse()?, length.parse()?);
        let last = if length == 0 { i64::MAX.unsigned_abs() } else { start + length - 1 };
        let process: i32 = process.parse()?;
        let range = cells(start, last).context("not the ends of anybody's lock")?;
        let here = self.actor(tester)?.node();
        ensure!(held.excludes(mode), "that lock is in nobody's way");
        ensure!(range.clone().any(|cell| tested.contains(&cell)), "that lock is elsewhere");
        let ours = *self.cluster.options().daemon_of(here.id()) != Daemon::C;
        let found = self.actors.iter().enumerate().any(|(number, actor)| {
            let remote = actor.node().id() != here.id();
            let sign = !ours || remote == (process < 0);
            number != tester
                && actor.process() == process.unsigned_abs()
                && sign
                && model.holds(number, held, &range)
        });
        ensure!(found, "nobody has that lock: {:?}", model.locks().collect::<Vec<_>>());
        Ok(())
    }

    /// Every daemon lists just the locks of the model; in ownership mode all together do, because the
    /// owner alone knows its locks.
    fn compare_tables(&self) -> Result<()> {
        let nodes: BTreeSet<u8> = self.actors.iter().map(|actor| actor.node().id()).collect();
        if nodes.len() == 1 {
            return Ok(());
        }
        let mut wanted = BTreeSet::new();
        for (cell, actor, mode) in self.model.locks() {
            let actor = self.actor(actor)?;
            wanted.insert((actor.node().cluster_id(), actor.process(), cell, mode));
        }
        until("all daemons list the locks of the script", CHANGE, || {
            let tables = self.cluster.on_all(&[1, 2, 3], |node| {
                node.plocks(FILE_SYSTEM).and_then(|locks| table(&locks))
            })?;
            let owned = super::owns_plocks(self.cluster);
            let joined: BTreeSet<_> = tables.iter().flatten().copied().collect();
            let same = owned || tables.iter().all(|table| *table == joined);
            if same && joined == wanted {
                return Ok(Some(()));
            }
            bail!("nodes list {tables:?}; it should be {wanted:?}")
        })
    }

    fn actor(&self, number: usize) -> Result<&Actor<'a>> {
        self.actors.get(number).context("no such actor")
    }
}

/// Node, process and mode of each cell that is locked.
fn table(locks: &BTreeSet<Plock>) -> Result<BTreeSet<(u8, u32, usize, Mode)>> {
    let mut table = BTreeSet::new();
    for lock in locks.iter().filter(|lock| !lock.waits) {
        let range = cells(lock.start, lock.end).with_context(|| format!("odd ends: {lock:?}"))?;
        for cell in range {
            ensure!(table.insert((lock.node, lock.process, cell, lock.mode)), "twice: {lock:?}");
        }
    }
    Ok(table)
}
