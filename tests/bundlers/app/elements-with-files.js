import './files.js';
import './elements.js';
