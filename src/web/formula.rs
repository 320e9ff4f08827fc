//! A denoiser of the page's own for JavaScript. The module of pipelines is built without: `www/noiseball.js` asks the sampling module for it.

use std::pin::Pin;

use js_sys::{Float32Array, Function, Object};
use wasm_bindgen::prelude::*;

use super::{JsResult, Page, Run, Work, noise_of, number, object, run_options, thrown};
use crate::error::{Error, Result};
use crate::formula::{self, Formula as DenoisingFormula};
use crate::picture::Range;
use crate::sampler::SamplerKind;
use crate::sampling::Watcher;
use crate::schedule::Schedule;

/// A denoiser that the page has, in the place of a model.
#[wasm_bindgen]
pub struct Formula {
    schedule: Schedule,
    shape: [usize; 3],
}

#[wasm_bindgen]
impl Formula {
    /// For images of `shape`, `[channels, height, width]`, at the levels that the text of a `scheduler_config.json` tells.
    ///
    /// # Errors
    /// By what is wrong with the text.
    #[wasm_bindgen(constructor)]
    pub fn new(scheduler: &str, shape: Vec<u32>) -> JsResult<Formula> {
        let schedule = Schedule::from_json("scheduler", scheduler.as_bytes()).map_err(|e| thrown(&e))?;
        Ok(Self { schedule, shape: [0, 1, 2].map(|i| shape.get(i).map_or(0, |n| *n as usize)) })
    }

    /// The sampler that the scheduler stands for, and the number of training timesteps.
    #[must_use]
    pub fn info(&self) -> Object {
        object([
            ("scheduler", (&self.schedule.class_name).into()),
            ("sampler", SamplerKind::default_for(&self.schedule.class_name).0.name().into()),
            ("trainTimesteps", number(self.schedule.train_timesteps() as u64)),
        ])
    }

    /// As [`Model::noise`](super::Model::noise).
    ///
    /// # Errors
    /// As there.
    pub fn noise(&self, seed: f64) -> JsResult<Vec<f32>> {
        noise_of(seed, self.shape)
    }

    /// As [`Model::sample`](super::Model::sample); `denoise` is told images with their levels' angles, and gives a promise of as many numbers.
    ///
    /// # Errors
    /// As there.
    #[allow(clippy::too_many_arguments, reason = "JavaScript tells each by itself")]
    pub fn sample(
        &self,
        options: JsValue,
        told: Vec<f64>,
        init: Option<Vec<f32>>,
        mask: Option<Vec<f32>>,
        noise: Option<Vec<f32>>,
        watch: Option<Function>,
        denoise: Function,
    ) -> JsResult<Run> {
        let options = run_options(options, &told, [init, mask, noise], self.shape).map_err(|e| thrown(&e))?;
        let watcher = watch.map(|watch| Box::new(Page(watch)) as Box<dyn Watcher>);
        let run = formula::sample(&self.schedule, self.shape, &options, Box::new(Page(denoise)), watcher);
        run.map(|sampling| Run(Work::Sampling(sampling, true, Range::Signed))).map_err(|e| thrown(&e))
    }
}

impl DenoisingFormula for Page {
    fn denoise<'a>(
        &'a mut self,
        x: &'a [f32],
        [batch, _, height, width]: [usize; 4],
        angles: &'a [f32],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<f32>>> + 'a>> {
        let question = object([
            ("noisy", Float32Array::from(x).into()),
            ("angles", Float32Array::from(angles).into()),
            ("batch", number(batch as u64)),
            ("width", number(width as u64)),
            ("height", number(height as u64)),
        ]);
        Box::pin(async move {
            let answer = self.answer(&question).await.map_err(|_| Error::Aborted)?;
            Ok(answer.unchecked_into::<Float32Array>().to_vec())
        })
    }
}
