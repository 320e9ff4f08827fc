// For bundlers that do not carry the package's files along: a copy of them stands beside the page.

import { loadFilesFrom } from 'noiseball';

loadFilesFrom('./noiseball/');
