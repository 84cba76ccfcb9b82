//! Any text as a config of mcpMQTT: it is refused, or the import is a config without faults.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::import::{ImportError, mcpmqtt};

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$IVQS/07EKrozrUqw0q/ncQ";

fuzz_target!(|text: &str| {
    // The name of the file is in a comment, so it may be any text, too.
    match mcpmqtt(text, text, None, &|_| Ok(HASH.to_owned())) {
        Ok(imported) => assert!(!imported.yaml.is_empty()),
        Err(ImportError::Result(faults)) => panic!("{faults}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
