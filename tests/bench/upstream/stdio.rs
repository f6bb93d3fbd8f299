//! The bench upstream over standard input and output: a plain loop, no runtime.
//!
//! Answers all lines that one read brought with one write. A sleeping call waits on a thread of
//! its own, so that it holds up nobody.

use std::{
    io::{self, BufRead, BufReader, Write},
    thread,
};

use crate::{
    Result,
    answer::{Answer, Face, answer},
};

const BUFFER_BYTES: usize = 256 * 1024;

pub(crate) fn serve(face: &Face) -> Result<()> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, io::stdin().lock());
    let (mut line, mut output) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match answer(&line, face) {
            Answer::None => {}
            Answer::Now(reply) => {
                output.extend_from_slice(&reply);
                output.push(b'\n');
            }
            Answer::Later(delay, mut reply) => {
                reply.push(b'\n');
                thread::spawn(move || {
                    thread::sleep(delay);
                    write(&reply)
                });
            }
        }
        if memchr::memchr(b'\n', input.buffer()).is_none() && !output.is_empty() {
            write(&output)?;
            output.clear();
        }
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
