//! The C compiler's opinion of the declarations made by hand.

use super::declarations::*;
use crate::error::Code;
use std::ffi::c_uint;
use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::process::{Command, Stdio};

/// A static assertion about each expression: C's on the left, ours on the right.
fn assertions() -> String {
    let facts: &[(&str, usize)] = &[
        ("sizeof(struct cpg_name)", size_of::<CpgName>()),
        ("offsetof(struct cpg_name, value)", offset_of!(CpgName, value)),
        ("CPG_MAX_NAME_LENGTH", CPG_MAX_NAME_LENGTH),
        ("sizeof(struct cpg_address)", size_of::<CpgAddress>()),
        ("offsetof(struct cpg_address, pid)", offset_of!(CpgAddress, pid)),
        ("offsetof(struct cpg_address, reason)", offset_of!(CpgAddress, reason)),
        ("sizeof(struct cpg_ring_id)", size_of::<CRingId>()),
        ("offsetof(struct cpg_ring_id, seq)", offset_of!(CRingId, seq)),
        ("sizeof(struct quorum_ring_id)", size_of::<CRingId>()),
        ("offsetof(struct quorum_ring_id, seq)", offset_of!(CRingId, seq)),
        ("sizeof(cpg_model_v1_data_t)", size_of::<CpgModelV1>()),
        ("offsetof(cpg_model_v1_data_t, cpg_deliver_fn)", offset_of!(CpgModelV1, deliver)),
        ("offsetof(cpg_model_v1_data_t, cpg_confchg_fn)", offset_of!(CpgModelV1, confchg)),
        ("offsetof(cpg_model_v1_data_t, cpg_totem_confchg_fn)", offset_of!(CpgModelV1, totem)),
        ("offsetof(cpg_model_v1_data_t, flags)", offset_of!(CpgModelV1, flags)),
        ("sizeof(struct iovec)", size_of::<IoVec>()),
        ("offsetof(struct iovec, iov_len)", offset_of!(IoVec, length)),
        ("sizeof(quorum_model_v1_data_t)", size_of::<QuorumModelV1>()),
        ("offsetof(quorum_model_v1_data_t, quorum_notify_fn)", offset_of!(QuorumModelV1, quorum)),
        (
            "offsetof(quorum_model_v1_data_t, nodelist_notify_fn)",
            offset_of!(QuorumModelV1, nodelist),
        ),
        ("sizeof(corosync_cfg_callbacks_t)", size_of::<CfgCallbacks>()),
        ("sizeof(corosync_cfg_node_address_t)", size_of::<CfgNodeAddress>()),
        ("offsetof(corosync_cfg_node_address_t, address)", offset_of!(CfgNodeAddress, address)),
        ("sizeof(enum_sample)", size_of::<c_uint>()),
        ("CFG_MAX_LINKS", CFG_MAX_LINKS),
    ];
    let constants: &[(&str, u32)] = &[
        ("CPG_MODEL_V1", CPG_MODEL_V1),
        ("CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF", CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF),
        ("CPG_TYPE_AGREED", CPG_TYPE_AGREED),
        ("CS_DISPATCH_ONE_NONBLOCKING", CS_DISPATCH_ONE_NONBLOCKING),
        ("(CS_TRACK_CURRENT | CS_TRACK_CHANGES)", CS_TRACK_CURRENT_AND_CHANGES),
        ("QUORUM_MODEL_V1", QUORUM_MODEL_V1),
        ("CS_OK", 1),
        ("COROSYNC_CFG_SHUTDOWN_FLAG_NO", 0),
        ("COROSYNC_CFG_SHUTDOWN_FLAG_YES", 1),
        ("COROSYNC_CFG_SHUTDOWN_FLAG_REGARDLESS", 1),
        ("CPG_REASON_PROCDOWN", 5),
        ("CMAP_VALUETYPE_STRING", 11),
    ];
    let mut text = String::new();
    for (expression, ours) in facts {
        let _ = writeln!(text, "_Static_assert({expression} == {ours}, \"{expression}\");");
    }
    for (expression, ours) in constants {
        let _ = writeln!(text, "_Static_assert({expression} == {ours}, \"{expression}\");");
    }
    for code in (1..200).filter_map(Code::from_raw) {
        if let Some(name) = code.name() {
            let _ = writeln!(text, "_Static_assert({name} == {}, \"{name}\");", code.get());
        }
    }
    for (function, prototype) in PROTOTYPES {
        let _ = writeln!(
            text,
            "_Static_assert(__builtin_types_compatible_p(__typeof__({function}), cs_error_t {prototype}), \"{function}\");"
        );
    }
    text
}

/// What the `extern` block says, in C's words.
const PROTOTYPES: &[(&str, &str)] = &[
    ("cpg_model_initialize", "(uint64_t *, cpg_model_t, cpg_model_data_t *, void *)"),
    ("cpg_finalize", "(uint64_t)"),
    ("cpg_fd_get", "(uint64_t, int *)"),
    ("cpg_context_get", "(uint64_t, void **)"),
    ("cpg_dispatch", "(uint64_t, cs_dispatch_flags_t)"),
    ("cpg_join", "(uint64_t, const struct cpg_name *)"),
    ("cpg_leave", "(uint64_t, const struct cpg_name *)"),
    ("cpg_mcast_joined", "(uint64_t, cpg_guarantee_t, const struct iovec *, unsigned int)"),
    ("cpg_local_get", "(uint64_t, unsigned int *)"),
    (
        "quorum_model_initialize",
        "(uint64_t *, quorum_model_t, quorum_model_data_t *, uint32_t *, void *)",
    ),
    ("quorum_finalize", "(uint64_t)"),
    ("quorum_fd_get", "(uint64_t, int *)"),
    ("quorum_context_get", "(uint64_t, const void **)"),
    ("quorum_dispatch", "(uint64_t, cs_dispatch_flags_t)"),
    ("quorum_trackstart", "(uint64_t, unsigned int)"),
    ("corosync_cfg_initialize", "(uint64_t *, const corosync_cfg_callbacks_t *)"),
    ("corosync_cfg_finalize", "(uint64_t)"),
    ("corosync_cfg_fd_get", "(uint64_t, int32_t *)"),
    ("corosync_cfg_dispatch", "(uint64_t, cs_dispatch_flags_t)"),
    ("corosync_cfg_local_get", "(uint64_t, unsigned int *)"),
    ("corosync_cfg_kill_node", "(uint64_t, unsigned int, const char *)"),
    ("corosync_cfg_trackstart", "(uint64_t, uint8_t)"),
    ("corosync_cfg_replyto_shutdown", "(uint64_t, corosync_cfg_shutdown_reply_flags_t)"),
    (
        "corosync_cfg_get_node_addrs",
        "(uint64_t, unsigned int, size_t, int *, corosync_cfg_node_address_t *)",
    ),
    ("cmap_initialize", "(uint64_t *)"),
    ("cmap_finalize", "(uint64_t)"),
    ("cmap_get", "(uint64_t, const char *, void *, size_t *, cmap_value_types_t *)"),
];

const HEADERS: &str = "#include <stddef.h>
#include <sys/uio.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <corosync/cfg.h>
#include <corosync/cmap.h>
typedef cs_dispatch_flags_t enum_sample;
";

/// Whether a program passes the C compiler, with its complaints.
fn compiles(program: &str) -> (bool, String) {
    let mut compiler = Command::new("cc")
        .args(["-fsyntax-only", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler named cc is needed for this test");
    let mut input = compiler.stdin.take().expect("asked for");
    input.write_all(program.as_bytes()).expect("the compiler reads its input");
    drop(input);
    let output = compiler.wait_with_output().expect("the compiler ends");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn declarations_match_the_c_headers() {
    let (good, complaints) = compiles(&format!("{HEADERS}{}", assertions()));
    assert!(good, "{complaints}");
}

#[test]
fn the_comparison_with_the_headers_notices_a_difference() {
    let wrong = "_Static_assert(sizeof(struct cpg_name) == 1, \"\");";
    let (good, _) = compiles(&format!("{HEADERS}{wrong}"));
    assert!(!good);
}
