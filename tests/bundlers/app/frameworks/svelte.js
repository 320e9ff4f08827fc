import '../files.js';
import { mount } from 'svelte';
import Faces from './Faces.svelte';

mount(Faces, { target: document.body });
