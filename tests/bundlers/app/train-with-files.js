import './files.js';
import './train.js';
