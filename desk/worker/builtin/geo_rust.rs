// geo.py in Rust: the same arithmetic in the same order. No dependencies; a panic aborts.
#[path = "../include/desk_abi.rs"]
mod desk_abi;

use core::ffi::c_void;
use core::slice::{from_raw_parts, from_raw_parts_mut};
use desk_abi::Worker;

const HALF_DEGREE: f64 = 0.0087266462599716478846; // radians
const DIAMETER: f64 = 2.0 * 6371.0088; // km

#[repr(C)]
#[derive(Clone, Copy)]
struct Record {
    sequence: u64,
    id: u64,
    latitude: f64,
    longitude: f64,
    stamp: i64,
}

#[repr(C)]
struct Output {
    sequence: u64,
    id: u64,
    stamp: i64,
    distance: f64,
}

#[repr(C)]
struct State {
    latitude: f64,
    longitude: f64,
    cosine: f64,
    radius: f64,
    events: u64,
    refused: u64,
    within: u64,
    total: f64,
    longest: f64,
}

fn is_place(latitude: f64, longitude: f64) -> bool {
    (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude)
}

unsafe extern "C" fn init(state: *mut c_void, parameters: *const f64, count: u32) -> i32 {
    let state = &mut *(state as *mut State);
    let &[latitude, longitude, radius] = from_raw_parts(parameters, count as usize) else { return -1 };
    if !(is_place(latitude, longitude) && (0.0..=1e9).contains(&radius)) {
        return -2;
    }
    (state.latitude, state.longitude, state.radius) = (latitude, longitude, radius);
    state.cosine = (latitude * (2.0 * HALF_DEGREE)).cos();
    0
}

unsafe extern "C" fn work(
    state: *mut c_void, records: *const c_void, count: u32, _size: u32, results: *mut c_void, capacity: u32,
) -> i32 {
    let state = &mut *(state as *mut State);
    let results = from_raw_parts_mut(results as *mut Output, capacity as usize);
    let mut made = 0;
    for i in 0..count as usize {
        // A copy: another process may write to the ring.
        let event = *(records as *const Record).add(i);
        if !is_place(event.latitude, event.longitude) {
            state.refused += 1;
            continue;
        }
        let north = ((event.latitude - state.latitude) * HALF_DEGREE).sin();
        let east = ((event.longitude - state.longitude) * HALF_DEGREE).sin();
        let h = north * north + state.cosine * (event.latitude * (2.0 * HALF_DEGREE)).cos() * (east * east);
        let distance = DIAMETER * (if h > 1.0 { 1.0 } else { h }).sqrt().asin();
        results[made] = Output { sequence: event.sequence, id: event.id, stamp: event.stamp, distance };
        made += 1;
        state.events += 1;
        state.total += distance;
        if distance > state.longest {
            state.longest = distance;
        }
        if distance <= state.radius {
            state.within += 1;
        }
    }
    made as i32
}

unsafe extern "C" fn report(state: *const c_void, numbers: *mut f64) {
    let state = &*(state as *const State);
    let mean = if state.events > 0 { state.total / state.events as f64 } else { 0.0 };
    let shown = [state.events as f64, state.refused as f64, state.within as f64, mean, state.longest];
    from_raw_parts_mut(numbers, shown.len()).copy_from_slice(&shown);
}

#[no_mangle]
pub static desk_worker: Worker = Worker {
    init: Some(init),
    ..Worker::of::<State, Record, Output>(work).with_numbers("events refused within_radius mean_km max_km", report)
};
