//! From the engine's answer to a search to lines of events, without a Python object in between.
//!
//! `answer` finds the hits in an answer, `lines` fills the form of a line with each. Both only ever do what the Python
//! code beside them does (`esfeed/cluster/responses.py`, `esfeed/changes/lines.py`), and give up where a hit is not as plain
//! as they need it: then Python does it. Nothing is unsafe here, nothing is written to, and no text leaves but those
//! that came in.

mod answer;
mod lines;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The hits of one answer. `answer` is kept, as all hits are places in it.
#[pyclass(frozen, module = "esfeed.native._native")]
struct Hits {
    answer: Py<PyBytes>,
    found: answer::Found,
}

#[pymethods]
impl Hits {
    fn __len__(&self) -> usize {
        self.found.hits.len()
    }

    /// Bytes of all contents together.
    #[getter]
    fn octets(&self) -> usize {
        self.found.hits.iter().map(|hit| hit.source.len()).sum()
    }

    /// The index and type (`None` before an answer without types) of each kind of hit, in the order of `lines`' forms.
    #[getter]
    fn kinds(&self) -> Vec<(String, Option<String>)> {
        self.found.kinds.clone()
    }

    /// A line of each hit, from position `first` on, one behind the other. `forms` by kind: the pieces of what an id is
    /// the hash of, and those of a line, between which the values go.
    fn lines<'py>(
        &self,
        py: Python<'py>,
        forms: Vec<(lines::Pieces, lines::Pieces)>,
        first: i64,
        time: Vec<u8>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let forms = lines::forms(forms).map_err(PyValueError::new_err)?;
        if forms.len() != self.found.kinds.len() {
            return Err(PyValueError::new_err("one form for each kind, please"));
        }
        let answer = self.answer.as_bytes(py);
        let text = py.detach(|| {
            let mut text = Vec::with_capacity(answer.len() + self.found.hits.len() * lines::MORE);
            for (hit, position) in self.found.hits.iter().zip(first..) {
                lines::line(&mut text, &forms[hit.kind], answer, hit, position, &time);
            }
            text
        });
        Ok(PyBytes::new(py, &text))
    }
}

/// The answer without its hits, and the hits, each with the date in its `field`; `None` where Python has to read it.
#[pyfunction]
fn hits(py: Python<'_>, answer: Py<PyBytes>, field: &str) -> Option<(Py<PyBytes>, Hits)> {
    let bytes = answer.as_bytes(py);
    let (head, found) = py.detach(|| answer::read(bytes, field))?;
    Some((PyBytes::new(py, &head).unbind(), Hits { answer, found }))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Hits>()?;
    module.add_function(wrap_pyfunction!(hits, module)?)
}
