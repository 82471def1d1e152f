// Package load drives a server and measures it. Every program under bench uses it, so that nowserving and what it is
// compared with are driven by the same loop, over the same HTTP client, on the same kind of Redis.
//
// A Step is one operation of one caller. Run repeats steps: as fast as answers come (closed loop), or at a fixed rate
// with each latency counted from the moment the operation was due (open loop), so that a stalled server cannot hide
// the operations that it kept from being sent.
package load
