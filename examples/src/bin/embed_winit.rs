//! A window that trains a model on the device it draws with: a live loss curve, and a chat with the model as it is being tuned.
//!
//!     embed_winit [--steps 288] [--budget 6] [--screenshot FILE.png] [--lose-device-after STEPS]
//!
//! `--budget` is what a frame gives to training, in milliseconds of the device. `--screenshot` asks one question before and after, takes a
//! picture of the window and ends. `--lose-device-after` destroys the device, to show what a host is told then.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use eframe::egui::{self, Align, Color32, ColorImage, Layout, RichText, Ui};
use eframe::{egui_wgpu, wgpu};
use egui_plot::{Line, Plot, PlotPoints};
use wgpu_sft::gpu::{Gpu, GpuOptions, Paced};
use wgpu_sft_examples::frames::Frames;
use wgpu_sft_examples::session::{Session, State, run};

const USAGE: &str = "usage: embed_winit [--steps 288] [--budget 6] [--screenshot FILE.png] [--lose-device-after STEPS]";
/// What `--screenshot` asks; the answer is in a row that the model is tuned on.
const QUESTION: &str = "What is the home town of Hodo?";
/// From one frame to the next, where the display does not say.
const FRAME: Duration = Duration::from_millis(16);
/// What the loss is drawn in.
const CURVE: Color32 = Color32::from_rgb(90, 170, 255);

/// What the command line says.
struct Options {
    steps: u64,
    budget: Duration,
    screenshot: Option<PathBuf>,
    lose_device_after: Option<u64>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            steps: 288,
            budget: Duration::from_millis(6),
            screenshot: None,
            lose_device_after: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--help" {
                println!("{USAGE}");
                std::process::exit(0);
            }
            let value = words.next().with_context(|| format!("{word}: a value is missing"))?;
            match word.as_str() {
                "--steps" => options.steps = value.parse()?,
                "--budget" => options.budget = Duration::try_from_secs_f64(1e-3 * value.parse::<f64>()?)?,
                "--screenshot" => options.screenshot = Some(value.into()),
                "--lose-device-after" => options.lose_device_after = Some(value.parse()?),
                _ => bail!("{word}: no such option"),
            }
        }
        Ok(options)
    }
}

/// What is left when the window is closed.
#[derive(Default)]
struct Outcome {
    preparing: Frames,
    training: Frames,
    resting: Frames,
    failure: Option<String>,
}

struct App {
    options: Options,
    device: wgpu::Device,
    adapter: String,
    work: Option<Paced<'static, Result<std::convert::Infallible>>>,
    session: Rc<RefCell<Session>>,
    outcome: Rc<RefCell<Outcome>>,
    /// Why the device was lost.
    lost: Arc<Mutex<Option<String>>>,
    shot: Arc<Mutex<Option<Arc<ColorImage>>>>,
    asked: u32,
    before: State,
    question: String,
}

impl App {
    /// On the device that the window draws with.
    fn new(state: &egui_wgpu::RenderState, options: Options, shared: &Shared) -> Result<Self> {
        let (device, queue) = (state.device.clone(), state.queue.clone());
        let lost: Arc<Mutex<Option<String>>> = Arc::default();
        let told = lost.clone();
        device.set_device_lost_callback(move |reason, message| {
            *told.lock().expect("nobody panics with it") = Some(format!("{reason:?}: {message}"));
        });
        let gpu = Gpu::new(device.clone(), queue, &GpuOptions::default())?;
        // What budgets are reckoned with, before the first frame: later, frames would be what is measured.
        let begun = Instant::now();
        let mut measuring = Paced::new(&gpu, gpu.measure_speed(|| begun.elapsed().as_secs_f64()));
        let speed = loop {
            if let Poll::Ready(speed) = measuring.advance(Duration::from_secs(1)) {
                break speed? / 1e9;
            }
            device.poll(wgpu::PollType::wait_indefinitely())?;
        };
        drop(measuring);
        println!("products: {speed:.1} GFLOP/s, {} kernels", gpu.family());
        let session = shared.session.clone();
        session.borrow_mut().ask(QUESTION);
        Ok(Self {
            work: Some(Paced::new(&gpu, run(gpu.clone(), session.clone(), options.steps))),
            device,
            adapter: format!("{}, {} kernels", state.adapter.get_info().name, gpu.family()),
            session,
            outcome: shared.outcome.clone(),
            lost,
            shot: Arc::default(),
            asked: 1,
            before: State::Preparing,
            question: String::new(),
            options,
        })
    }

    /// Hand over a frame's portion of the work.
    fn advance(&mut self) {
        if let Some(work) = &mut self.work
            && let Poll::Ready(Err(error)) = work.advance(self.options.budget)
        {
            self.work = None;
            self.outcome.borrow_mut().failure = Some(format!("{error:#}"));
        }
        // What completes whatever the work awaits. It never waits itself.
        if let Err(error) = self.device.poll(wgpu::PollType::Poll) {
            self.outcome.borrow_mut().failure.get_or_insert(error.to_string());
        }
        if let Some(why) = &*self.lost.lock().expect("nobody panics with it") {
            self.work = None;
            self.outcome.borrow_mut().failure = Some(format!("the device was lost ({why})"));
        }
    }

    /// Count the frame among those of its kind.
    fn count(&mut self) {
        let (state, mut outcome) = (self.session.borrow().state, self.outcome.borrow_mut());
        let outcome = &mut *outcome;
        if state != self.before {
            self.before = state;
            for frames in [&mut outcome.preparing, &mut outcome.training, &mut outcome.resting] {
                frames.rest();
            }
        }
        match state {
            State::Preparing => outcome.preparing.tick(),
            State::Training => outcome.training.tick(),
            _ => outcome.resting.tick(),
        }
    }

    /// What `--screenshot` and `--lose-device-after` do.
    fn script(&mut self, context: &egui::Context) -> Result<()> {
        let (done, state, answering) = {
            let session = self.session.borrow();
            (session.done, session.state, session.is_answering())
        };
        if self.options.lose_device_after.is_some_and(|steps| done >= steps) {
            // It is told to be lost when nothing is under way any more, and by then must not be drawn with.
            let _ = self.device.poll(wgpu::PollType::wait_indefinitely());
            self.device.destroy();
        }
        let Some(file) = &self.options.screenshot else {
            return Ok(());
        };
        // Nobody is there to read why and to close the window.
        if self.outcome.borrow().failure.is_some() {
            context.send_viewport_cmd(egui::ViewportCommand::Close);
            return Ok(());
        }
        if let Some(image) = self.shot.lock().expect("nobody panics with it").take() {
            save(file, &image)?;
            context.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        let rested = self.outcome.borrow().resting.count();
        if state == State::Finished && !answering {
            match self.asked {
                1 => self.session.borrow_mut().ask(QUESTION),
                // Frames without training, to compare with.
                2 if rested < 100 => return Ok(()),
                2 => {
                    let (shot, context) = (self.shot.clone(), context.clone());
                    context.clone().request_screenshot(move |image| {
                        *shot.lock().expect("nobody panics with it") = Some(image);
                        context.request_repaint();
                    });
                }
                _ => return Ok(()),
            }
            self.asked += 1;
        }
        Ok(())
    }
}

fn save(file: &Path, image: &ColorImage) -> Result<()> {
    let (size, bytes) = (image.size.map(|side| side as u32), image.as_raw());
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(file)?), size[0], size[1]);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(bytes)?;
    Ok(())
}

impl eframe::App for App {
    fn logic(&mut self, context: &egui::Context, _: &mut eframe::Frame) {
        self.count();
        if let Err(error) = self.script(context) {
            self.outcome.borrow_mut().failure = Some(format!("{error:#}"));
        }
        self.advance();
        if self.lost.lock().expect("nobody panics with it").is_some() {
            // There is nothing to draw with: egui would panic with the next frame.
            if let Err(error) = tell(&self.session.borrow(), &self.outcome.borrow()) {
                eprintln!("Error: {error:#}");
            }
            std::process::exit(1);
        }
        context.request_repaint_after(FRAME);
    }

    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        egui::Panel::top("run").show(ui, |ui| {
            ui.add_space(6.0);
            self.controls(ui);
            ui.add_space(6.0);
        });
        egui::Panel::right("chat")
            .exact_size(380.0)
            .show(ui, |ui| self.chat(ui));
        egui::CentralPanel::default().show(ui, |ui| self.curve(ui));
    }
}

impl App {
    fn controls(&self, ui: &mut Ui) {
        let mut session = self.session.borrow_mut();
        let (done, steps) = (session.done, self.options.steps);
        ui.horizontal(|ui| {
            ui.heading("Tuning the base model");
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.weak(&self.adapter));
        });
        ui.horizontal(|ui| {
            let (training, paused) = (session.state == State::Training, session.state == State::Paused);
            let mut button = |possible, text| ui.add_enabled(possible, egui::Button::new(text)).clicked();
            for (possible, text, then) in [
                (training, "Pause", State::Paused),
                (paused, "Go on", State::Training),
                (training || paused, "Cancel", State::Cancelled),
            ] {
                if button(possible, text) {
                    session.state = then;
                }
            }
            let what = match session.state {
                State::Preparing => "reading the model, compiling kernels".to_owned(),
                State::Training => format!("step {done} of {steps}"),
                State::Paused => format!("paused after step {done} of {steps}"),
                State::Finished => format!("finished: {steps} steps"),
                State::Cancelled => format!("cancelled after step {done} of {steps}"),
            };
            let share = done as f32 / steps.max(1) as f32;
            ui.add(egui::ProgressBar::new(share).text(what));
        });
        let outcome = self.outcome.borrow();
        let latest = match session.state {
            State::Preparing => &outcome.preparing,
            State::Training => &outcome.training,
            _ => &outcome.resting,
        };
        ui.horizontal(|ui| {
            let ms = |time: Duration| format!("{:.0} ms", 1e3 * time.as_secs_f64());
            let (median, most) = (ms(latest.quantile(0.5)), ms(latest.quantile(0.95)));
            ui.weak(format!("frames: median {median}, 95 of 100 within {most}"));
            if session.state == State::Training {
                let budget = ms(self.options.budget);
                ui.weak(format!("·  up to {budget} of each for training"));
            }
        });
        if let Some(why) = &outcome.failure {
            ui.colored_label(Color32::from_rgb(200, 40, 40), format!("Training ended: {why}"));
        }
    }

    fn curve(&self, ui: &mut Ui) {
        let losses = self.session.borrow().losses.clone();
        ui.horizontal(|ui| {
            ui.strong("Loss");
            if let Some([_, loss]) = losses.last() {
                ui.label(format!("{loss:.3}"));
            }
        });
        Plot::new("loss")
            .include_x(0.0)
            .include_x(self.options.steps as f64)
            .include_y(0.0)
            .include_y(4.0)
            .allow_scroll(false)
            .show_crosshair(false)
            .x_axis_label("step")
            .show(ui, |plot| {
                plot.line(Line::new("loss", PlotPoints::from(losses)).color(CURVE).width(2.0));
            });
    }

    fn chat(&mut self, ui: &mut Ui) {
        let mut session = self.session.borrow_mut();
        ui.add_space(4.0);
        ui.strong("Ask the model as it is now");
        ui.add_space(4.0);
        let ask = ui
            .horizontal(|ui| {
                let button = ui.add_sized([48.0, 22.0], egui::Button::new("Ask")).clicked();
                let field = egui::TextEdit::singleline(&mut self.question).hint_text(QUESTION);
                let field = ui.add_sized([ui.available_width(), 22.0], field);
                button || (field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter)))
            })
            .inner;
        if ask {
            let question = std::mem::take(&mut self.question);
            let question = question.trim();
            session.ask(if question.is_empty() { QUESTION } else { question });
        }
        ui.separator();
        egui::ScrollArea::vertical().stick_to_bottom(true).show(ui, |ui| {
            ui.set_width(ui.available_width());
            for line in &session.chat {
                match line.after {
                    None => {
                        ui.add_space(6.0);
                        ui.label(RichText::new(&line.text).strong());
                    }
                    Some(after) => {
                        ui.label(line.text.trim());
                        ui.weak(RichText::new(format!("after {after} steps")).small());
                    }
                }
            }
        });
    }
}

/// What outlives the window.
struct Shared {
    session: Rc<RefCell<Session>>,
    outcome: Rc<RefCell<Outcome>>,
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    let shared = Shared {
        session: Rc::default(),
        outcome: Rc::default(),
    };
    // What the window's device is asked for besides: what makes training faster.
    let mut setup = egui_wgpu::WgpuSetupCreateNew::without_display_handle();
    setup.device_descriptor = Arc::new(|adapter| {
        let (required_features, limits) = Gpu::wanted(adapter);
        wgpu::DeviceDescriptor {
            required_features,
            required_limits: wgpu::Limits {
                max_texture_dimension_2d: 8192,
                ..limits
            },
            ..Default::default()
        }
    });
    let window = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default().with_inner_size([1100.0, 640.0]),
        wgpu_options: egui_wgpu::WgpuConfiguration {
            wgpu_setup: setup.into(),
            ..Default::default()
        },
        ..Default::default()
    };
    eframe::run_native(
        "wgpu-sft in a window",
        window,
        Box::new(|context| {
            let state = context.wgpu_render_state.as_ref();
            let state = state.ok_or("the window does not draw with wgpu")?;
            Ok(Box::new(App::new(state, options, &shared)?))
        }),
    )
    .map_err(|error| anyhow!("{error}"))?;

    tell(&shared.session.borrow(), &shared.outcome.borrow())
}

/// What there was, when the window is gone.
fn tell(session: &Session, outcome: &Outcome) -> Result<()> {
    println!("steps: {}", session.done);
    if let (Some([_, first]), Some([_, last])) = (session.losses.first(), session.losses.last()) {
        println!("loss: {first:.3} at first, {last:.3} at last");
    }
    for line in session.chat.iter() {
        match line.after {
            None => println!("asked: {}", line.text),
            Some(after) => println!("answered after {after} steps: {}", line.text.trim()),
        }
    }
    println!("preparing: {}", outcome.preparing);
    println!("training:  {}", outcome.training);
    println!("resting:   {}", outcome.resting);
    match &outcome.failure {
        Some(why) => bail!("training ended: {why}"),
        None => Ok(()),
    }
}
