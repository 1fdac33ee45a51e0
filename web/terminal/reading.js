// The screen's own worker that reads pictures.

import "../codes/reading.js";
