// geo.py in Rust: the same arithmetic in the same order. No dependencies; a panic aborts.
#[path = "../include/desk_abi.rs"]
mod desk_abi;

use core::ffi::c_void;
use core::slice::{from_raw_parts, from_raw_parts_mut};
use desk_abi::Worker;

const HALF_DEGREE: f64 = 0.0087266462599716478846; // radians
const DEGREE: f64 = 2.0 * HALF_DEGREE;
const QUARTER: f64 = 1.5707963267948966; // of a turn
const CHUNK: usize = 64; // events, of which the compiler computes several at once
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

/// The sine of an angle within a quarter of a turn.
#[inline(always)]
fn sine(x: f64) -> f64 {
    let z = x * x;
    let mut p = 1.0 / 51090942171709440000.0;
    p = p * z + -1.0 / 121645100408832000.0;
    p = p * z + 1.0 / 355687428096000.0;
    p = p * z + -1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z + -1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z + -1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z + -1.0 / 6.0;
    x + x * (z * p)
}

/// The distance to a place; of what is no place, anything.
#[inline(always)]
fn measure(state: &State, latitude: f64, longitude: f64) -> f64 {
    let north = sine((latitude - state.latitude) * HALF_DEGREE);
    let turned = longitude - state.longitude;
    let turned = if turned > 180.0 { turned - 360.0 } else if turned < -180.0 { turned + 360.0 } else { turned };
    let east = sine(turned * HALF_DEGREE);
    let h = north * north + state.cosine * sine((90.0 - latitude.abs()) * DEGREE) * (east * east);
    let h = if h > 1.0 { 1.0 } else { h };
    let s = h.sqrt();
    let left = (1.0 - s) * 0.5;
    let (z, t) = if s > 0.5 { (left, left.sqrt()) } else { (h, s) };
    let p = 7.91534994289814532176e-04 + z * 3.47933107596021167570e-05;
    let p = 2.01212532134862925881e-01 + z * (-4.00555345006794114027e-02 + z * p);
    let p = z * (1.66666666666666657415e-01 + z * (-3.25565818622400915405e-01 + z * p));
    let q = -6.88283971605453293030e-01 + z * 7.70381505559019352791e-02;
    let q = 1.0 + z * (-2.40339491173441421878e+00 + z * (2.02094576023350569471e+00 + z * q));
    let arc = t + t * (p / q);
    DIAMETER * (if s > 0.5 { QUARTER - 2.0 * arc } else { arc })
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
    state.cosine = sine((90.0 - latitude.abs()) * DEGREE);
    0
}

unsafe extern "C" fn work(
    state: *mut c_void, records: *const c_void, count: u32, _size: u32, results: *mut c_void, capacity: u32,
) -> i32 {
    let state = &mut *(state as *mut State);
    let results = from_raw_parts_mut(results as *mut Output, capacity as usize);
    let (mut latitudes, mut longitudes, mut distances) = ([0.0; CHUNK], [0.0; CHUNK], [0.0; CHUNK]);
    let mut made = 0;
    for first in (0..count as usize).step_by(CHUNK) {
        let events = (records as *const Record).add(first);
        let some = CHUNK.min(count as usize - first);
        for i in 0..some {
            // Copies: another process may write to the ring.
            (latitudes[i], longitudes[i]) = ((*events.add(i)).latitude, (*events.add(i)).longitude);
        }
        for i in 0..CHUNK {
            distances[i] = measure(state, latitudes[i], longitudes[i]);
        }
        for i in 0..some {
            if !is_place(latitudes[i], longitudes[i]) {
                state.refused += 1;
                continue;
            }
            let (event, distance) = (*events.add(i), distances[i]);
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
