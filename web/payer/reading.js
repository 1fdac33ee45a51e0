// The app's own worker that reads pictures: here, so that what keeps the app for offline use keeps it too.

import "../codes/reading.js";
