//! Any bytes as a record of the queue of `mqtt_mcp · proxy`: nothing panics, and what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_binding_mqtt_mcp::record_is_read_as_written;

fuzz_target!(|bytes: &[u8]| {
    assert!(record_is_read_as_written(bytes));
});
