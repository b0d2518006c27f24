// include/desk_worker.h for Rust. A worker says `mod desk_abi;` and exports a `static desk_worker: Worker`.
#![allow(dead_code)]

use core::ffi::c_void;
use core::mem::size_of;

pub const ABI: u32 = 1;
pub const NUMBERS: usize = 16;
pub const NAME: usize = 32;

#[repr(C)]
pub struct Worker {
    pub abi: u32,
    pub size: u32,
    pub state_size: u64,
    pub record_size: u32,
    pub result_size: u32,
    pub most_results: u32,
    pub numbers: u32,
    pub names: [[u8; NAME]; NUMBERS],
    pub init: Option<unsafe extern "C" fn(*mut c_void, *const f64, u32) -> i32>,
    pub work: Option<unsafe extern "C" fn(*mut c_void, *const c_void, u32, u32, *mut c_void, u32) -> i32>,
    pub report: Option<unsafe extern "C" fn(*const c_void, *mut f64)>,
    pub fini: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Worker {
    /// A table for a state, records and results of these types, one result a record at most; what is None does nothing.
    pub const fn of<State, Record, Output>(
        work: unsafe extern "C" fn(*mut c_void, *const c_void, u32, u32, *mut c_void, u32) -> i32,
    ) -> Worker {
        Worker {
            abi: ABI, size: size_of::<Worker>() as u32, state_size: size_of::<State>() as u64,
            record_size: size_of::<Record>() as u32, result_size: size_of::<Output>() as u32,
            most_results: (size_of::<Output>() > 0) as u32, numbers: 0, names: [[0; NAME]; NUMBERS],
            init: None, work: Some(work), report: None, fini: None,
        }
    }

    /// The same table with names of the numbers that report() writes, separated by spaces.
    pub const fn with_numbers(mut self, names: &str, report: unsafe extern "C" fn(*const c_void, *mut f64)) -> Worker {
        let bytes = names.as_bytes();
        let (mut at, mut i) = (0, 0);
        self.numbers = 1;
        while i < bytes.len() {
            if bytes[i] == b' ' {
                self.numbers += 1;
                at = 0;
            } else {
                self.names[self.numbers as usize - 1][at] = bytes[i];
                at += 1;
            }
            i += 1;
        }
        self.report = Some(report);
        self
    }
}
