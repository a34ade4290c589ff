//! What `dlm_tool history` makes of the daemon's history.

use dlm_tools::{budget, history, json};
use dlmcontrol::history::{Agent, Fencing, History, Journal, Phase, PhaseKind, Recovery, Start};
use dlmcontrol::state::Time;
use expect_test::expect;

fn at(boot_ms: u64) -> Time {
    Time { boot_ms, wall_ms: 1_700_000_000_000 + boot_ms }
}

fn phases(parts: &[(PhaseKind, u64, &[u32])]) -> Vec<Phase> {
    let mut from_ms = 0;
    let mut phase = |(kind, took_ms, nodes): &(PhaseKind, u64, &[u32])| {
        let phase = Phase { kind: *kind, nodes: nodes.to_vec(), from_ms, took_ms: *took_ms };
        from_ms += took_ms;
        phase
    };
    parts.iter().map(&mut phase).collect()
}

/// Node 3 dies and is fenced by this node, after a delay and a failed attempt; a start without a death follows.
fn death() -> History {
    use PhaseKind as K;
    let phases_of_death = phases(&[
        (K::Stop, 20, &[]),
        (K::Rings, 4, &[]),
        (K::Fencing, 2_500, &[3]),
        (K::Starts, 26, &[2]),
        (K::KernelStart, 10, &[]),
    ]);
    let recovery = Recovery {
        lockspace: "fs".to_owned(),
        began: at(60_000),
        ended: Some(at(62_560)),
        took_ms: 2_560,
        members: vec![1, 2],
        failed: vec![3],
        changes: 1,
        phases: phases_of_death,
        starts: vec![Start { node: 1, after_ms: 0 }, Start { node: 2, after_ms: 25 }],
        straggler: Some(2),
        slots_after_ms: Some(70),
        locks_after_ms: Some(90),
        file_system_after_ms: Some(480),
        journals: vec![Journal { jid: 2, took_ms: 379 }],
        ..Recovery::default()
    };
    let join = Recovery {
        lockspace: "t1".to_owned(),
        began: at(90_000),
        ended: Some(at(90_030)),
        took_ms: 30,
        members: vec![1, 2, 3],
        joined: vec![3],
        phases: phases(&[(K::Stop, 10, &[]), (K::Starts, 20, &[3])]),
        ..Recovery::default()
    };
    let agent = |started, ended, outcome: &str| Agent {
        device: "power".to_owned(),
        started: at(started),
        ended: Some(at(ended)),
        outcome: Some(outcome.to_owned()),
    };
    let fencing = Fencing {
        node: 3,
        needed: at(60_024),
        actor: Some(1),
        done: Some(at(62_524)),
        by: Some(1),
        took_ms: 2_500,
        agents: vec![
            agent(60_524, 60_900, "failure with exit status 1"),
            agent(61_900, 62_520, "success"),
        ],
    };
    History {
        schema_version: 1,
        now: at(100_000),
        token_ms: Some(3_000),
        consensus_ms: Some(3_600),
        recoveries: vec![recovery, join],
        fencings: vec![fencing],
    }
}

#[test]
fn time_of_a_death_is_seen_at_a_glance() {
    expect![[r#"
        Lockspace fs, 40 s ago: node 3 failed; took 2560 ms
          kernel stop      20 ms  #
          rings             4 ms  #
          fencing        2500 ms  ########################################  node 3
          STARTs           26 ms  #  last was node 2, after 25 ms
          kernel start     10 ms  #
          slots            70 ms  after the start
          kernel locks     90 ms  after the start
          gfs2 goes on    480 ms  after the start
          journal 2       379 ms  replayed here

        Lockspace t1, 10 s ago: node 3 joined; took 30 ms
          kernel stop      10 ms  ##############
          STARTs           20 ms  ###########################

        Fencing of node 3, 39 s ago: fenced by node 1 after 2500 ms
          device power: failure with exit status 1, 376 ms
          device power: success, 620 ms

        What the death of a node costs lockspace fs, by the last one (node 3):
          corosync's token       3000 ms  #####             31 %  totem.token in corosync.conf
          corosync's consensus   3600 ms  ######            37 %  totem.consensus in corosync.conf
          before the agent        500 ms  #                  5 %  post_join_delay in dlm.conf
          fence agent            2000 ms  ####              20 %  the fence devices
          daemons                  30 ms  #                  0 %  the slowest node
          kernel dlm              120 ms  #                  1 %  master weights in dlm.conf
          file system             390 ms  #                  4 %  the size of gfs2's journals
          together               9640 ms
        Most of it is corosync's consensus. To shorten it: totem.consensus in corosync.conf, which follows totem.token (1.2 times) if not set.
    "#]].assert_eq(&history::history(&death(), None));
}

#[test]
fn parts_of_a_death_add_up_and_are_told_to_programs() {
    let budget = budget::budget(&death(), None).expect("a death");
    let sum: u64 = budget.parts.iter().filter_map(|part| part.ms).sum();
    assert_eq!(budget.total_ms, sum);
    let text = json::history(&death(), Some("fs"));
    let (_, told) = text.split_once("  \"budget\": ").expect("the budget");
    expect![[r#"
        {
            "lockspace": "fs",
            "failed": [
              3
            ],
            "total_ms": 9640,
            "parts": [
              {
                "of": "token",
                "ms": 3000,
                "share": 31,
                "setting": "totem.token in corosync.conf"
              },
              {
                "of": "consensus",
                "ms": 3600,
                "share": 37,
                "setting": "totem.consensus in corosync.conf"
              },
              {
                "of": "fence_delay",
                "ms": 500,
                "share": 5,
                "setting": "post_join_delay in dlm.conf"
              },
              {
                "of": "fence_agent",
                "ms": 2000,
                "share": 20,
                "setting": "the fence devices"
              },
              {
                "of": "daemons",
                "ms": 30,
                "share": 0,
                "setting": "the slowest node"
              },
              {
                "of": "kernel",
                "ms": 120,
                "share": 1,
                "setting": "master weights in dlm.conf"
              },
              {
                "of": "file_system",
                "ms": 390,
                "share": 4,
                "setting": "the size of gfs2's journals"
              }
            ]
          }
        }
    "#]]
    .assert_eq(told);
    assert!(text.contains("\"lockspace\": \"fs\"") && !text.contains("\"lockspace\": \"t1\""));
    assert!(json::history(&death(), Some("t1")).ends_with("\"budget\": null\n}\n"));
}

/// Elsewhere than where the agent ran, and without gfs2.
#[test]
fn what_is_not_known_here_is_not_made_up() {
    let mut elsewhere = death();
    elsewhere.fencings[0].agents.clear();
    elsewhere.recoveries[0].file_system_after_ms = None;
    elsewhere.recoveries[0].journals.clear();
    (elsewhere.token_ms, elsewhere.consensus_ms) = (None, None);
    let text = history::history(&elsewhere, Some("fs"));
    let (_, told) = text.split_once("What the death").expect("the budget");
    expect![[r#"
         of a node costs lockspace fs, by the last one (node 3):
          corosync's token       unknown                     0 %  totem.token in corosync.conf
          corosync's consensus   unknown                     0 %  totem.consensus in corosync.conf
          fencing                2500 ms  ################  94 %  the fence devices
          daemons                  30 ms  #                  1 %  the slowest node
          kernel dlm              120 ms  #                  4 %  master weights in dlm.conf
          file system            unknown                     0 %  the size of gfs2's journals
          together               2650 ms
        Most of it is fencing. To shorten it: see `dlm_tool history` on the node that fenced.
    "#]]
    .assert_eq(told);
    elsewhere.recoveries.clear();
    expect![[r#"
        No change of a lockspace's members since the daemon began.
        Fencing of node 3, 39 s ago: fenced by node 1 after 2500 ms
    "#]]
    .assert_eq(&history::history(&elsewhere, None));
}
