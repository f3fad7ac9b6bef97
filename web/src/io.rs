//! Where bytes come from and go to: objects that JavaScript makes, over storage, files, memory or HTTP.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::error::{Fault, Result};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** Bytes that are read by pieces: a file of the user's, of the browser's storage, of a server. */
export interface Reader {
  /** The file's name, without its folder. */
  readonly name: string;
  /** Its bytes. */
  readonly size: number;
  /** The bytes from `start` to before `end`: exactly `end - start` of them. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** A file that is written. */
export interface Writer {
  /**
   * Writes at once, or throws (a QuotaExceededError, say). `bytes` are valid during the call only: a writer that
   * keeps them makes a copy.
   */
  write(bytes: Uint8Array, at: number): void;
  /** What was written is lasting afterwards. A writer that is never closed was given up. */
  close(): void;
}

/** A folder; paths are relative to it, with "/" between their parts. */
export interface Folder {
  /** Every file below it. */
  list(): Promise<string[]>;
  /** The file there, if there is one. */
  open(path: string): Promise<Reader | undefined>;
  /** Makes the folders on the way, and replaces what is there. */
  create(path: string): Promise<Writer>;
  /** Removes a file, or a folder with all in it; fine if there is none. */
  remove(path: string): Promise<void>;
}

/** A file of rows, whole: JSON Lines, JSON or CSV, plain or gzip. */
export interface RowFile {
  name: string;
  bytes: Uint8Array;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// Bytes that are read by pieces.
    #[wasm_bindgen(typescript_type = "Reader", is_type_of = JsValue::is_object)]
    #[derive(Clone)]
    pub type Reader;

    /// The file's name, without its folder.
    #[wasm_bindgen(method, getter)]
    pub fn name(this: &Reader) -> String;

    #[wasm_bindgen(method, getter, js_name = size)]
    fn js_size(this: &Reader) -> f64;

    #[wasm_bindgen(method, catch, js_name = read)]
    async fn js_read(this: &Reader, start: f64, end: f64) -> std::result::Result<JsValue, JsValue>;

    /// A file that is written.
    #[wasm_bindgen(typescript_type = "Writer", is_type_of = JsValue::is_object)]
    pub type Writer;

    #[wasm_bindgen(method, catch, js_name = write)]
    fn js_write(this: &Writer, bytes: &[u8], at: f64) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(method, catch, js_name = close)]
    fn js_close(this: &Writer) -> std::result::Result<(), JsValue>;

    /// A folder.
    #[wasm_bindgen(typescript_type = "Folder", is_type_of = JsValue::is_object)]
    #[derive(Clone)]
    pub type Folder;

    #[wasm_bindgen(method, catch, js_name = list)]
    async fn js_list(this: &Folder) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch, js_name = open)]
    async fn js_open(this: &Folder, path: &str) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch, js_name = create)]
    async fn js_create(this: &Folder, path: &str) -> std::result::Result<JsValue, JsValue>;

    #[wasm_bindgen(method, catch, js_name = remove)]
    async fn js_remove(this: &Folder, path: &str) -> std::result::Result<JsValue, JsValue>;

    /// A file of rows, whole.
    #[wasm_bindgen(typescript_type = "RowFile", is_type_of = JsValue::is_object)]
    pub type RowFile;

    /// Its name, whose ending tells nothing: the format is seen from the bytes.
    #[wasm_bindgen(method, getter, js_name = name)]
    pub fn row_name(this: &RowFile) -> String;

    #[wasm_bindgen(method, getter)]
    fn bytes(this: &RowFile) -> Uint8Array;
}

/// Bytes of a file that are in memory at a time.
pub const PIECE: u64 = 8 << 20;

impl Reader {
    /// The file's bytes.
    ///
    /// # Errors
    /// A size that is none.
    pub fn size(&self) -> Result<u64> {
        let size = self.js_size();
        // Every whole number below 2⁵³ is one in f64.
        match (0.0..9.0e15).contains(&size) && size.fract() == 0.0 {
            true => Ok(size as u64),
            false => Err(wgpu_sft::Error::weights(self.name(), format!("a size of {size} bytes")).into()),
        }
    }

    /// The bytes from `start` to before `end`, into `out`, whose contents they replace.
    ///
    /// # Errors
    /// What the reader throws; more or fewer bytes than were asked for.
    pub async fn read_into(&self, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()> {
        let bytes = self.js_read(start as f64, end as f64).await?;
        let bytes = bytes
            .dyn_into::<Uint8Array>()
            .map_err(|_| self.broken("no Uint8Array"))?;
        if u64::from(bytes.length()) != end - start {
            let why = format!("{} bytes instead of {} from {start}", bytes.length(), end - start);
            return Err(self.broken(&why));
        }
        out.resize(bytes.length() as usize, 0);
        bytes.copy_to(out);
        Ok(())
    }

    /// The same, as bytes of their own.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub async fn read(&self, start: u64, end: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.read_into(start, end, &mut out).await?;
        Ok(out)
    }

    /// The whole file: for small ones.
    ///
    /// # Errors
    /// As [`read_into`](Self::read_into).
    pub async fn read_all(&self) -> Result<Vec<u8>> {
        self.read(0, self.size()?).await
    }

    fn broken(&self, why: &str) -> Fault {
        wgpu_sft::Error::weights(self.name(), format!("the reader gave {why}")).into()
    }
}

impl Writer {
    /// Write at `at`.
    ///
    /// # Errors
    /// What the writer throws.
    pub fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        Ok(self.js_write(bytes, at as f64)?)
    }

    /// Make what was written lasting.
    ///
    /// # Errors
    /// What the writer throws.
    pub fn close(&self) -> Result<()> {
        Ok(self.js_close()?)
    }
}

impl Folder {
    /// The paths of every file below it.
    ///
    /// # Errors
    /// What the folder throws.
    pub async fn list(&self) -> Result<Vec<String>> {
        let names = self.js_list().await?;
        Ok(Array::from(&names).iter().filter_map(|name| name.as_string()).collect())
    }

    /// The file there, if there is one.
    ///
    /// # Errors
    /// What the folder throws.
    pub async fn open(&self, path: &str) -> Result<Option<Reader>> {
        let reader = self.js_open(path).await?;
        Ok((!reader.is_undefined() && !reader.is_null()).then(|| reader.unchecked_into()))
    }

    /// The whole file there, if there is one.
    ///
    /// # Errors
    /// What the folder or its reader throws.
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.open(path).await? {
            Some(reader) => Ok(Some(reader.read_all().await?)),
            None => Ok(None),
        }
    }

    /// A new file there, in place of what is there.
    ///
    /// # Errors
    /// What the folder throws.
    pub async fn create(&self, path: &str) -> Result<Writer> {
        Ok(self.js_create(path).await?.unchecked_into())
    }

    /// A new file there with these bytes.
    ///
    /// # Errors
    /// What the folder or its writer throws.
    pub async fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let writer = self.create(path).await?;
        writer.write(bytes, 0)?;
        writer.close()
    }

    /// Remove a file, or a folder with all in it.
    ///
    /// # Errors
    /// What the folder throws.
    pub async fn remove(&self, path: &str) -> Result<()> {
        self.js_remove(path).await?;
        Ok(())
    }
}

impl RowFile {
    /// Its bytes, copied.
    pub fn contents(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }
}

/// The pieces that a range of bytes is read by.
pub fn pieces(start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    (start..end)
        .step_by(PIECE as usize)
        .map(move |at| (at, end.min(at + PIECE)))
}
