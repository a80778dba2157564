//! Machines without a driver, and with a broken one.
#![cfg(target_os = "linux")]

use fractal_gpu::{Context, GpuError, process};
use std::process::Command;

/// What a process sees whose list of drivers is this.
fn with_drivers(list: &str, test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs([("VK_DRIVER_FILES", list), ("VK_ICD_FILENAMES", list)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_list_of_drivers_that_is_not_there_is_no_adapter() {
    with_drivers("/nonexistent/driver.json", "drivers::no_adapter");
}

#[test]
fn a_driver_that_cannot_be_loaded_is_no_adapter() {
    let list = std::env::temp_dir().join(format!("broken-driver-{}.json", std::process::id()));
    let text =
        r#"{"file_format_version": "1.0.0", "ICD": {"library_path": "/nonexistent.so", "api_version": "1.3.0"}}"#;
    std::fs::write(&list, text).unwrap();
    with_drivers(list.to_str().unwrap(), "drivers::no_adapter");
    std::fs::remove_file(list).unwrap();
}

#[test]
#[ignore = "run by the tests above, in a process without drivers"]
fn no_adapter() {
    let options = crate::common::options();
    assert_eq!(Context::adapters(&options.choice).unwrap(), []);
    for _ in 0..2 {
        let error = process::context(&options).err();
        assert!(matches!(&error, Some(GpuError::Unavailable(why)) if why.contains("no driver")), "{error:?}");
    }
}
