<?php

use App\Http\Pages;
use Illuminate\Support\Facades\Route;

Route::get('/session', [Pages::class, 'session']);
