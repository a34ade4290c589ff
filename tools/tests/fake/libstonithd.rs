//! Stands in for pacemaker's library: node 3 was fenced at second 1000, node 19 is unknown, all others can be fenced.

/// `stonith_api_time`
#[unsafe(no_mangle)]
pub extern "C" fn stonith_api_time(node: u32, name: *const u8, in_progress: bool) -> i64 {
    assert!(name.is_null() && !in_progress);
    if node == 3 { 1000 } else { 0 }
}

/// `stonith_api_kick`
#[unsafe(no_mangle)]
pub extern "C" fn stonith_api_kick(node: u32, name: *const u8, timeout: i32, off: bool) -> i32 {
    assert!(name.is_null() && timeout == 300 && !off);
    eprintln!("fake: reboot {node}");
    if node == 19 { -19 } else { 0 }
}
