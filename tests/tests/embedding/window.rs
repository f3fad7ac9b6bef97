//! The example with a window, on a display without a screen.

use std::fs;
use std::io::{BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::examples::{assert_tells, example, text};

/// A display without a screen.
struct Display(Child, String);

impl Display {
    fn new() -> Self {
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb: make test-deps");
        // It tells which number was free, and a line's end.
        let mut number = String::new();
        let told = server.stdout.take().expect("it is piped");
        for byte in BufReader::new(told).bytes() {
            match byte.expect("a number") {
                b'\n' => break,
                digit => number.push(digit.into()),
            }
        }
        assert!(!number.is_empty(), "Xvfb did not start");
        Self(server, format!(":{number}"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(example("embed_winit"))
            .args(arguments)
            .env("DISPLAY", &self.1)
            .env_remove("WAYLAND_DISPLAY")
            .output()
            .expect("embed_winit runs")
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_window_trains_and_answers_on_the_device_it_draws_with() {
    let (display, folder) = (Display::new(), TempDir::new().unwrap());
    let picture = folder.path().join("window.png");
    let steps = ["--steps", "6", "--budget", "200", "--screenshot"];
    let ended = display.run(&[&steps[..], &[picture.to_str().unwrap()]].concat());
    let lines = [
        "step 6 of 6: loss ",
        "steps: 6\n",
        "answered after 0 steps: ",
        "answered after 6 steps: ",
        "training:  ",
        "resting:   ",
    ];
    assert_tells(&ended, &lines);
    // Somebody looked at such a picture; here it is enough that there is text and a curve in it.
    let decoder = png::Decoder::new(BufReader::new(fs::File::open(&picture).expect("a picture")));
    let mut reader = decoder.read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert!(
        info.width >= 800 && info.height >= 500,
        "{}x{}",
        info.width,
        info.height
    );
    let mut colours = std::collections::BTreeMap::<&[u8], usize>::new();
    for pixel in pixels[..info.buffer_size()].chunks(4) {
        *colours.entry(&pixel[..3]).or_default() += 1;
    }
    assert!(colours.len() > 60, "{} colours", colours.len());
    let most = colours.values().max().expect("a colour");
    assert!(*most < pixels.len() / 4 * 99 / 100, "the picture is blank");
    let curve = colours.get(&[90, 170, 255][..]).copied().unwrap_or_default();
    assert!(curve > 50, "{curve} pixels of the curve");
}

#[test]
fn a_window_that_loses_its_device_says_so() {
    let display = Display::new();
    let ended = display.run(&["--steps", "50", "--budget", "200", "--lose-device-after", "2"]);
    let (told, why) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(1), "{told}{why}");
    assert!(told.contains("step 2 of 50"), "{told}");
    assert!(why.contains("Error: training ended: the device was lost"), "{why}");
    assert!(!why.contains("panicked"), "{why}");
}
