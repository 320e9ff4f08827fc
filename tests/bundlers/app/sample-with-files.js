import './files.js';
import './sample.js';
