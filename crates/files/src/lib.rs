//! Model file formats as plain records, and the admission of model folders
